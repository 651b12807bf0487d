package top

import (
	"context"
	"fmt"
	"time"

	"midge/internal/client"
	"midge/internal/packet"
)

// prefix is what all topics that are read begin with.
const prefix = "$SYS/broker/"

// An event is what a feed tells.
type event struct {
	topic    string // below prefix; "" if the event is no message
	text     string
	retained bool
	lost     error // the connection has ended, or could not be opened again
	failed   error // the feed has ended: there never was a connection
}

// A feed is a connection to the broker, opened again whenever it ends.
type feed struct {
	options client.Options
	timeout time.Duration // of each attempt to connect
	events  chan event
}

// startFeed returns a feed whose goroutine ends, and closes events, when ctx is
// done or the first connection fails.
func startFeed(ctx context.Context, o client.Options, timeout time.Duration) *feed {
	f := &feed{options: o, timeout: timeout, events: make(chan event, 64)}
	go f.run(ctx)
	return f
}

func (f *feed) run(ctx context.Context) {
	defer close(f.events)
	const shortest, longest = time.Second, 10 * time.Second
	wait := shortest
	for once := false; ; {
		subscribed, err := f.connect(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case !once && !subscribed:
			f.send(ctx, event{failed: err})
			return
		}
		once = true
		if subscribed {
			wait = shortest
		}
		f.send(ctx, event{lost: err})
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, longest)
	}
}

// connect reads the topics until the connection ends, and returns why it did.
func (f *feed) connect(ctx context.Context) (subscribed bool, err error) {
	o := f.options
	ended := make(chan error, 1)
	o.Closed = func(err error) { ended <- err }
	o.Received = func(m client.Message) {
		if len(m.Topic) > len(prefix) {
			f.send(ctx, event{topic: m.Topic[len(prefix):], text: string(m.Payload), retained: m.Retain})
		}
	}
	start, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("no answer within %v", f.timeout))
	defer cancel()
	c, err := client.Connect(start, o)
	if err != nil {
		return false, err
	}
	defer c.Disconnect(client.Disconnection{})
	codes, err := c.Subscribe(start, []client.Subscription{{Filter: prefix + "#"}})
	if err != nil {
		return false, err
	}
	if len(codes) != 1 || codes[0] >= packet.UnspecifiedError {
		return false, fmt.Errorf("%s: subscribe to %s#: %w: this client may not read the broker's figures", o.Address, prefix, &client.Refused{Reason: codes[0]})
	}
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return true, err
}

func (f *feed) send(ctx context.Context, e event) {
	select {
	case f.events <- e:
	case <-ctx.Done():
	}
}
