// Package pubsub publishes and subscribes for the commands midge pub and midge
// sub: where payloads come from, what is done with messages, and what is
// printed.
//
// Files, from the bottom up: pubsub.go, json.go, format.go, source.go,
// publish.go, subscribe.go.
package pubsub

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"midge/internal/client"
	"midge/internal/packet"
)

// Talk is where a command says what happens, other than its output.
type Talk struct {
	Out     io.Writer // standard error
	Quiet   bool      // no errors and warnings
	Debug   bool      // each step
	Rewrite bool      // a terminal: progress may overwrite its line

	mu   sync.Mutex
	open bool // the last line is progress
}

// Warn says that something went wrong.
func (t *Talk) Warn(format string, args ...any) {
	if !t.Quiet {
		t.print(fmt.Sprintf("midge: "+format, args...))
	}
}

// debugf says what is done.
func (t *Talk) debugf(format string, args ...any) {
	if t.Debug {
		t.print(fmt.Sprintf(format, args...))
	}
}

func (t *Talk) print(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open {
		line = "\n" + line
		t.open = false
	}
	fmt.Fprintln(t.Out, line)
}

// progress overwrites the line of progress with another.
func (t *Talk) progress(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const clear = "\r\x1b[K"
	fmt.Fprint(t.Out, clear, line)
	t.open = true
}

// connected says what the broker answered.
func (t *Talk) connected(o client.Options, c client.Connected) {
	session := "new session"
	if c.SessionPresent {
		session = "session present"
	}
	t.debugf("connected to %s as %q: %s", o.Address, c.ClientID, session)
}

// properties says what a message has in 5.0, for debug lines.
func properties(m client.Message) string {
	var b strings.Builder
	if m.Expiry != nil {
		fmt.Fprintf(&b, ", expiry %d s", *m.Expiry)
	}
	if m.ContentType != "" {
		fmt.Fprintf(&b, ", content type %q", m.ContentType)
	}
	if m.ResponseTopic != "" {
		fmt.Fprintf(&b, ", response topic %q", m.ResponseTopic)
	}
	for _, u := range m.UserProperties {
		fmt.Fprintf(&b, ", %q: %q", u.Key, u.Value)
	}
	return b.String()
}

// flag is 1 or 0.
func flag(on bool) int {
	if on {
		return 1
	}
	return 0
}

// granted reports whether a SUBACK's code grants a subscription, and how.
func granted(code packet.ReasonCode) string {
	if code.Failed() {
		return (&client.Refused{Reason: code}).Error()
	}
	return fmt.Sprintf("QoS %d", uint8(code))
}

// endProgress leaves the line of progress standing.
func (t *Talk) endProgress() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open {
		fmt.Fprintln(t.Out)
		t.open = false
	}
}
