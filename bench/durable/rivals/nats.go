//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// serveNATS runs a NATS server on its own, with JetStream on disk, synced at each write, until SIGINT or SIGTERM.
func serveNATS(o options) error {
	mqttHost, mqttPort, err := split(o.listen)
	if err != nil {
		return err
	}
	host, port, err := split(o.native)
	if err != nil {
		return err
	}
	opts := &server.Options{
		ServerName: "rival", Host: host, Port: port, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: o.data, SyncAlways: true,
		JetStreamMaxStore: 8 << 30, JetStreamMaxMemory: 1 << 30,
	}
	opts.MQTT.Host, opts.MQTT.Port = mqttHost, mqttPort
	s, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("make NATS server: %w", err)
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("NATS server is not ready after 10 s")
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

func split(address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %w", address, err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %w", address, err)
	}
	return host, port, nil
}
