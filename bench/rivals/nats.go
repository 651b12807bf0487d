//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"midge/internal/program"
)

// stopLimit is how long the server may take to end.
const stopLimit = 20 * time.Second

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

// withServer calls measure while a NATS server runs as a process of its own.
func withServer(o options, measure func(options) (map[string]float64, error)) (figures map[string]float64, err error) {
	ports, err := program.Ports(2)
	if err != nil {
		return nil, err
	}
	o.listen, o.native = "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1]
	cmd := exec.Command(os.Args[0], "nats", "-listen", o.listen, "-native", o.native, "-data", o.data)
	cmd.Stderr = os.Stderr
	p, err := program.StartGroup(cmd)
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	defer func() { err = errors.Join(err, p.Stop(stopLimit)) }()
	for {
		if c, err := net.Dial("tcp", o.listen); err == nil { // the last port that it opens
			c.Close()
			o.pid = p.PID()
			return measure(o)
		}
		select {
		case <-p.Done():
			return nil, fmt.Errorf("NATS ended: %s", p.Exit())
		case <-time.After(20 * time.Millisecond):
		}
	}
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
