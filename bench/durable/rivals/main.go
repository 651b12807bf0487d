//go:build linux

// Command rivals is what durable measures Midge against and what needs modules that Midge does without: a NATS server,
// a generator of load in NATS's own protocol, and the bare committer, which is Pebble with nothing around it.
//
//	rivals nats -listen 127.0.0.1:1883 -native 127.0.0.1:4222 -data DIR
//	rivals jetstream -native 127.0.0.1:4222 -pid PID
//	rivals committer -data DIR
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

// options are the flags of all three.
type options struct {
	listen  string
	native  string
	data    string
	pid     int
	clients int
	window  int
	size    int
	measure time.Duration
	keep    bool
}

// warmUp is the time before what is measured.
const warmUp = time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "rivals:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return fmt.Errorf("no command: nats, jetstream or committer")
	}
	var o options
	flags := flag.NewFlagSet(os.Args[1], flag.ContinueOnError)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:1883", "`address` where nats listens for MQTT")
	flags.StringVar(&o.native, "native", "127.0.0.1:4222", "`address` where nats listens for its own protocol, and jetstream connects to")
	flags.StringVar(&o.data, "data", "", "`directory` of data")
	flags.IntVar(&o.pid, "pid", 0, "process `id` of the server that jetstream measures")
	flags.IntVar(&o.clients, "clients", 100, "`number` of publishers or writers")
	flags.IntVar(&o.window, "window", 1, "`messages` or records in flight for each of them")
	flags.IntVar(&o.size, "size", 200, "`bytes` of payload or record")
	flags.DurationVar(&o.measure, "time", 3*time.Second, "`time` measured, after one second to warm up")
	flags.BoolVar(&o.keep, "keep", false, "the committer keeps records, rather than delete each once it is on disk")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	var figures map[string]float64
	var err error
	switch os.Args[1] {
	case "nats":
		return serveNATS(o)
	case "jetstream":
		figures, err = jetStream(o)
	case "committer":
		figures, err = committer(o)
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(figures)
}
