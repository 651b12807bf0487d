// Package top shows how a broker does, from what it publishes under $SYS: on a
// terminal as a page that follows it, elsewhere as lines of text.
//
// It knows no broker but by the names of those topics, which are Mosquitto's
// and Midge's. Rates are made of counters and the time between them. One
// goroutine reads the connection, another the keyboard; all else happens in
// the one that calls Run.
//
// Files, from the bottom up: row.go, collector.go, feed.go, number.go, line.go,
// table.go, page.go, plain.go, live.go, top.go.
package top

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"midge/internal/client"
)

// Options say which broker to show, and how.
type Options struct {
	Client   client.Options // Received and Closed are set by Run
	Timeout  time.Duration  // of each attempt to connect
	Interval time.Duration  // the shortest time between two points
	Wait     time.Duration  // how long the broker may stay silent at first
	Once     bool           // print one page, and return
	Plain    bool           // print lines, even on a terminal
	Out      io.Writer
}

// Run shows the broker until ctx is done or the user quits.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o.Client.CleanStart, o.Client.SessionExpiry = true, 0
	f := startFeed(ctx, o.Client, o.Timeout)
	switch {
	case o.Once:
		return once(ctx, &o, f.events)
	case o.Plain || !terminal(o.Out):
		return lines(ctx, &o, f.events)
	}
	return live(ctx, &o, f.events)
}

// terminal reports whether w can show a page.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
