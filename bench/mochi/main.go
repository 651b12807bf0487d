// Command mochi serves MQTT with mochi-mqtt and its default capabilities, so that compare can measure against it.
// It lives in a module of its own, which keeps mochi-mqtt out of Midge's.
package main

import (
	"flag"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/hooks/storage/pebble"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:1884", "`address` to listen on")
	data := flag.String("data", "", "`directory` to keep sessions and messages in, synced at each write; none if empty")
	flag.Parse()
	if err := serve(*listen, *data); err != nil {
		log.Fatal(err)
	}
}

// serve runs the broker until SIGINT or SIGTERM.
func serve(address, data string) error {
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	if data != "" {
		if err := server.AddHook(new(pebble.Hook), &pebble.Options{Path: data, Mode: pebble.Sync}); err != nil {
			return err
		}
	}
	if err := server.AddListener(listeners.NewTCP(listeners.Config{ID: "tcp", Address: address})); err != nil {
		return err
	}
	if err := server.Serve(); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
	return server.Close()
}
