package pubsub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"midge/internal/client"
	"midge/internal/packet"
)

// Publication is what midge pub is asked to do.
type Publication struct {
	Connect    client.Options
	Timeout    time.Duration  // of connecting
	Message    client.Message // all but the payload
	Disconnect client.Disconnection

	// Payload is published, unless one of the two others is there: Whole, whose
	// content is one message, or Lines, of which each line is one.
	Payload      []byte
	Whole, Lines io.Reader

	// NotEmpty refuses a Whole that has nothing: of a command that failed before
	// it wrote its message, an empty one would remove what is retained.
	NotEmpty bool

	Repeat      int // how often Payload or Whole is published
	RepeatDelay time.Duration
	MaxInflight int // messages that may wait for their acknowledgements

	JSON io.Writer // gets a line for each message answered; nil for none
	Talk *Talk
}

// publisher is a publication under way.
type publisher struct {
	*Publication
	client *client.Client
	slots  chan struct{} // has one token for each message in flight
	sent   chan receipt  // oldest first

	mu      sync.Mutex
	counts  counts
	refused error // the last one
}

// receipt is a message that waits for its acknowledgement.
type receipt struct {
	*client.Receipt
	size int // of the payload, in bytes
}

// counts tell how far a publication is.
type counts struct {
	sent, bytes, answered, refused int
}

// Publish publishes, and returns when the broker has acknowledged everything.
// It is an error if it refused a message.
func Publish(ctx context.Context, p *Publication) error {
	payloads := make(chan []byte, 64)
	var failure error // of reading; set before payloads is closed
	if p.Whole != nil {
		payload, err := readWhole(p.Whole)
		if err != nil {
			return err
		}
		if p.NotEmpty && len(payload) == 0 {
			return errEmpty
		}
		p.Payload = payload
	}
	c, err := connect(ctx, p.Connect, p.Timeout)
	if err != nil {
		return err
	}
	p.Talk.connected(p.Connect, c.Connected())
	feeding, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(payloads)
		failure = p.feed(feeding, payloads)
	}()
	run := &publisher{Publication: p, client: c, slots: make(chan struct{}, p.MaxInflight), sent: make(chan receipt, p.MaxInflight)}
	err = run.run(ctx, payloads, &failure)
	stop()
	if leave := c.Disconnect(p.Disconnect); err == nil && leave != nil {
		err = fmt.Errorf("disconnect: %w", leave)
	}
	return err
}

// connect opens a connection within the timeout.
func connect(ctx context.Context, o client.Options, timeout time.Duration) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return client.Connect(ctx, o)
}

// run sends the payloads while others wait for their acknowledgements.
// failure is why payloads ended, once it has.
func (p *publisher) run(ctx context.Context, payloads <-chan []byte, failure *error) error {
	shown := p.showProgress()
	answers := make(chan struct{})
	go func() {
		defer close(answers)
		p.collect(ctx)
	}()
	err := p.sendAll(ctx, payloads)
	if err == nil {
		err = *failure // what was read before goes out, and is waited for
	}
	close(p.sent)
	<-answers
	shown()
	n := p.progress()
	switch {
	case err == nil && n.answered < n.sent && ctx.Err() != nil:
		err = ctx.Err()
	case err == nil && p.client.Err() != nil:
		err = fmt.Errorf("publish to %s: %w", p.Message.Topic, p.client.Err())
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	switch {
	case err != nil && (p.Lines != nil || p.Repeat > 1):
		return fmt.Errorf("%w; %d of %d messages sent were answered", err, n.answered, n.sent)
	case err != nil:
		return err
	case n.refused > 1:
		return fmt.Errorf("the broker refused %d of %d messages", n.refused, n.sent)
	}
	return p.refused
}

func (p *publisher) sendAll(ctx context.Context, payloads <-chan []byte) error {
	for {
		var payload []byte
		more := true
		select {
		case payload, more = <-payloads:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.client.Done():
			return fmt.Errorf("publish to %s: %w", p.Message.Topic, p.client.Err())
		}
		if !more {
			return nil
		}
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		m := p.Message
		m.Payload = payload
		p.Talk.debugf("sending PUBLISH to %s (QoS %d, retain %d, %d bytes%s)", m.Topic, m.QoS, flag(m.Retain), len(payload), properties(m))
		r, err := p.client.Send(ctx, m)
		if err != nil {
			return err
		}
		p.count(func(n *counts) { n.sent++; n.bytes += len(payload) })
		p.sent <- receipt{r, len(payload)}
	}
}

// collect waits for the acknowledgements, in the order of sending.
func (p *publisher) collect(ctx context.Context) {
	const maxShown = 10
	for r := range p.sent {
		answer, err := r.Wait(ctx)
		<-p.slots
		var refused *client.Refused
		isRefused := errors.As(err, &refused) && answer.Reason.Failed()
		if err != nil && !isRefused {
			continue // the connection has ended, which run reports
		}
		n := p.count(func(n *counts) {
			n.answered++
			if isRefused {
				n.refused++
				p.refused = err
			}
		})
		switch {
		case isRefused && n.refused <= maxShown && (p.Lines != nil || p.Repeat > 1):
			p.Talk.Warn("message %d: %v", n.answered, err)
		case p.Message.QoS > 0:
			p.Talk.debugf("message %d acknowledged: %v", n.answered, answer.Reason)
		}
		if p.JSON != nil {
			p.writeJSON(r, answer)
		}
	}
}

func (p *publisher) writeJSON(r receipt, answer client.Published) {
	line, err := json.Marshal(struct {
		Topic        string          `json:"topic"`
		QoS          packet.QoS      `json:"qos"`
		Retain       int             `json:"retain"`
		Size         int             `json:"payloadlen"`
		Reason       uint8           `json:"reason"`
		ReasonName   string          `json:"reason_name"`
		ReasonString string          `json:"reason_string,omitempty"`
		User         *userProperties `json:"user-properties,omitempty"`
	}{p.Message.Topic, p.Message.QoS, flag(p.Message.Retain), r.size, uint8(answer.Reason), answer.Reason.String(), answer.ReasonString, someUser(answer.UserProperties)})
	if err == nil {
		_, err = p.JSON.Write(append(line, '\n'))
	}
	if err != nil {
		p.Talk.Warn("write output: %v", err)
	}
}

// count changes the counts and returns them.
func (p *publisher) count(change func(*counts)) counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.counts)
	return p.counts
}

func (p *publisher) progress() counts { return p.count(func(*counts) {}) }

// showProgress shows on a terminal how far the publication is, from its first
// second on. The function that it returns ends that.
func (p *publisher) showProgress() (end func()) {
	if !p.Talk.Rewrite || p.Talk.Quiet {
		return func() {}
	}
	start, stop, ended := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for shown := false; ; shown = true {
			select {
			case <-tick.C:
				p.Talk.progress(p.progressLine(time.Since(start)))
			case <-stop:
				if shown {
					p.Talk.progress(p.progressLine(time.Since(start)))
					p.Talk.endProgress()
				}
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-ended
	}
}

func (p *publisher) progressLine(d time.Duration) string {
	n, s := p.progress(), d.Seconds()
	if total := len(p.Payload); p.Lines == nil && p.Repeat == 1 {
		gone := min(int(p.client.Sent()), total)
		return fmt.Sprintf("%s of %s, %.0f %%, %s/s", size(gone), size(total), 100*float64(gone)/float64(max(total, 1)), size(int(float64(gone)/s)))
	}
	return fmt.Sprintf("%d messages, %.0f/s, %s, %s/s, %d not yet answered", n.sent, float64(n.sent)/s, size(n.bytes), size(int(float64(n.bytes)/s)), n.sent-n.answered)
}

// size is a number of bytes as people read it.
func size(bytes int) string {
	switch {
	case bytes >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(bytes)/1e9)
	case bytes >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
	case bytes >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%d B", bytes)
}
