//go:build linux

// Command rivals is what Midge's durability is compared with and what needs
// modules that Midge does without: a NATS server, which plans start, a generator
// of load in NATS's own protocol, and the bare committer, which is Pebble with
// nothing around it. bench/README.md has the commands.
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
	pid     int // of the server that jetstream measures
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
	flags.StringVar(&o.native, "native", "127.0.0.1:4222", "`address` where nats listens for its own protocol")
	flags.StringVar(&o.data, "data", "", "`directory` of data, which must be empty")
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
		figures, err = withServer(o, jetStream)
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
