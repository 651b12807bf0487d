//go:build linux

// Command load is the generator of bench/durable, for what midge bench doesn't do: sessions that outlive the process.
// It puts one scenario of load on an MQTT 3.1.1 broker and prints the figures as one line of JSON.
//
// It runs an epoll loop of its own on one thread, writes each connection once a turn and allocates nothing per message,
// so that it costs less than the brokers that it measures. It measures the broker's CPU time and memory by process id,
// and its own CPU time and lag beside them. It checks what it counts: a message lost, repeated or out of order is a
// fault, printed on standard error, and the exit status is 1.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	address  string
	pid      int
	scenario string
	qos      int
	clients  int
	window   uint64
	rate     int
	size     int
	duration time.Duration
	settle   time.Duration
	keep     bool
	messages int
}

func main() {
	var o options
	flag.StringVar(&o.address, "addr", "127.0.0.1:1883", "`address` of the broker")
	flag.IntVar(&o.pid, "pid", 0, "process `id` of the broker, whose CPU time and memory are measured")
	flag.StringVar(&o.scenario, "scenario", "pairs", "pairs, fanin, open, idle, sessions, resume, offline, fill or drain")
	flag.IntVar(&o.qos, "qos", 0, "`QoS` of publications and subscriptions of pairs, fanin and open")
	flag.IntVar(&o.clients, "clients", 100, "`number` of pairs, publishers, subscribers or idle connections")
	flag.Uint64Var(&o.window, "window", 10, "`messages` in flight per publisher of a closed loop")
	flag.IntVar(&o.rate, "rate", 10000, "`messages` per second of the open loop, in all")
	flag.IntVar(&o.size, "size", 64, "`bytes` of payload")
	flag.DurationVar(&o.duration, "time", 3*time.Second, "`time` measured, after one second to warm up")
	flag.DurationVar(&o.settle, "settle", 5*time.Second, "`time` that the broker has to settle in idle and sessions")
	flag.BoolVar(&o.keep, "keep", false, "subscribers of pairs, fanin and open have sessions that are kept")
	flag.IntVar(&o.messages, "messages", 1000, "`number` of messages of offline, fill and drain")
	flag.Parse()

	figures, faults, err := run(o)
	if err != nil {
		faults = append(faults, err.Error())
	}
	for _, f := range faults {
		fmt.Fprintf(os.Stderr, "load: %s: %s\n", o.scenario, f)
	}
	if figures != nil {
		if err := json.NewEncoder(os.Stdout).Encode(figures); err != nil {
			fmt.Fprintln(os.Stderr, "load:", err)
			os.Exit(1)
		}
	}
	if len(faults) > 0 {
		os.Exit(1)
	}
}

// run locks itself to a thread, whose timers it makes exact, and runs a scenario.
func run(o options) (map[string]float64, []string, error) {
	debug.SetGCPercent(-1) // nothing is allocated once the clients are connected
	runtime.LockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, 1, 0); errno != 0 {
		return nil, nil, fmt.Errorf("set timer slack: %w", errno)
	}
	address, err := netip.ParseAddrPort(o.address)
	if err != nil || !address.Addr().Is4() {
		return nil, nil, fmt.Errorf("address %q: want IPv4:port", o.address)
	}
	if o.pid == 0 {
		return nil, nil, errors.New("no -pid of the broker")
	}
	l, err := newLoop(syscall.SockaddrInet4{Addr: address.Addr().As4(), Port: int(address.Port())})
	if err != nil {
		return nil, nil, err
	}
	m := &meter{broker: o.pid}
	var s *flows
	switch o.scenario {
	case "pairs", "fanin":
		s, err = pairs(l, o, o.scenario == "fanin")
	case "open":
		s, err = pairs(l, o, false)
	case "idle":
		return idle(l, o.clients, o.settle, m)
	case "sessions":
		return sessions(l, o.clients, o.settle, m)
	case "resume":
		return resume(l, o.clients)
	case "offline":
		return offline(l, o.clients, o.messages, o.size, m)
	case "fill":
		return fill(l, o.messages, int(o.window), o.size, m)
	case "drain":
		return drain(l, o.messages, m)
	default:
		err = fmt.Errorf("no scenario %q", o.scenario)
	}
	if err != nil {
		return nil, nil, err
	}
	return s.run(o.duration, m)
}
