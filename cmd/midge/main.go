// Command midge is an MQTT broker and its tools in one binary.
//
// It turns arguments and signals into one call of cli.Run, and the answer into
// the exit status.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"midge/internal/cli"
	"midge/internal/cli/command"
)

func main() {
	// Whoever reads our log or our banner may go away; the broker stays.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(cli.Run(untilSignal(), command.World{
		Args:   os.Args[1:],
		Env:    os.Environ(),
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,

		Outlived: outlived,
	}))
}

// echo is the time in which the same signal once more is the first one still:
// timeout(1), for one, signals the process and then its group.
const echo = 100 * time.Millisecond

// untilSignal returns a context that SIGINT or SIGTERM cancels. A second
// signal ends the process at once.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		first, at := <-signals, time.Now()
		cancel()
		s := <-signals
		for s == first && time.Since(at) < echo {
			s = <-signals
		}
		fmt.Fprintf(os.Stderr, "midge: second signal (%v): ending at once\n", s)
		os.Exit(command.Failed)
	}()
	return ctx
}
