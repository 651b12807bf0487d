package shell

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"midge/internal/client"
	"midge/internal/packet"
)

// conn is a connection to a broker: a *client.Client, or one of a test.
type conn interface {
	Connected() client.Connected
	Publish(context.Context, client.Message) (client.Published, error)
	Subscribe(context.Context, []client.Subscription, ...client.UserProperty) ([]packet.ReasonCode, error)
	Unsubscribe(context.Context, []string, ...client.UserProperty) ([]packet.ReasonCode, error)
	Disconnect(client.Disconnection) error
	Close()
}

// connection is one of the clients of a shell.
type connection struct {
	name    string // the client identifier
	conn    conn
	options client.Options
	inbox   *inbox

	subscriptions []client.Subscription // with the QoS that was granted
	published     int
}

// address is where the client is connected to.
func (c *connection) address() string { return c.options.Address }

// forget removes a subscription.
func (c *connection) forget(filter string) {
	c.subscriptions = slices.DeleteFunc(c.subscriptions, func(s client.Subscription) bool { return s.Filter == filter })
}

// connections are the clients of a shell, in the order in which they
// connected; the one that commands act as is the last of used. Only the
// goroutine that runs commands changes them. Others ask for the current one,
// to draw the prompt.
type connections struct {
	all []*connection

	mu   sync.Mutex
	used []*connection
}

// current is the client that commands act as, or nil.
func (c *connections) current() *connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.used) == 0 {
		return nil
	}
	return c.used[len(c.used)-1]
}

// find returns the client called name, and the current one for "".
func (c *connections) find(name string) (*connection, error) {
	if name == "" {
		if now := c.current(); now != nil {
			return now, nil
		}
		return nil, errors.New("no client is connected; 'connect' connects one")
	}
	if one := c.named(name); one != nil {
		return one, nil
	}
	if len(c.all) == 0 {
		return nil, fmt.Errorf("there is no client %s; 'connect %[1]s' connects it", name)
	}
	return nil, fmt.Errorf("there is no client %s; there is %s", name, strings.Join(c.names(), ", "))
}

// named returns the client called name, or nil.
func (c *connections) named(name string) *connection {
	i := slices.IndexFunc(c.all, func(one *connection) bool { return one.name == name })
	if i < 0 {
		return nil
	}
	return c.all[i]
}

func (c *connections) names() (all []string) {
	for _, one := range c.all {
		all = append(all, one.name)
	}
	return all
}

// use makes a client the current one.
func (c *connections) use(one *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used = append(slices.DeleteFunc(c.used, func(u *connection) bool { return u == one }), one)
}

func (c *connections) add(one *connection) {
	c.all = append(c.all, one)
	c.use(one)
}

// remove forgets a client. The one that was used before it becomes current.
func (c *connections) remove(one *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	same := func(u *connection) bool { return u == one }
	c.all = slices.DeleteFunc(c.all, same)
	c.used = slices.DeleteFunc(c.used, same)
}

// An inbox holds what a client received until wait or expect takes it. The
// client's goroutine puts, the shell takes.
const (
	inboxMessages = 10_000
	inboxBytes    = 64 << 20 // of payload
)

type inbox struct {
	mu       sync.Mutex
	name     string // of the client
	queue    []client.Message
	bytes    int   // of payload in queue
	received int   // since the client connected
	dropped  int   // because nobody took them, since take last said so
	lost     error // why the connection ended

	changed chan struct{} // holds one token when something has come
}

func newInbox() *inbox { return &inbox{changed: make(chan struct{}, 1)} }

// put keeps a message. When there are too many the oldest are dropped: a user
// at the prompt has seen them, and a script is told.
func (b *inbox) put(m client.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = append(b.queue, m)
	b.bytes += len(m.Payload)
	b.received++
	for len(b.queue) > inboxMessages || b.bytes > inboxBytes && len(b.queue) > 1 {
		b.bytes -= len(b.queue[0].Payload)
		b.queue[0] = client.Message{}
		b.queue = b.queue[1:]
		b.dropped++
	}
	b.signal()
}

// close records why the connection ended.
func (b *inbox) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost == nil {
		b.lost = err
	}
	b.signal()
}

func (b *inbox) signal() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// setName names the client, which may learn its name from the broker.
func (b *inbox) setName(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.name = name
}

// client is the name of the client.
func (b *inbox) client() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.name
}

// poll takes the oldest message if there is one.
func (b *inbox) poll() (m client.Message, ok bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.dropped; n > 0 {
		b.dropped = 0
		return m, false, fmt.Errorf("%d messages were lost because more than %d, or more than %d MB, waited to be taken", n, inboxMessages, inboxBytes>>20)
	}
	if len(b.queue) == 0 {
		return m, false, b.lost
	}
	m, b.queue = b.queue[0], b.queue[1:]
	b.bytes -= len(m.Payload)
	return m, true, nil
}

// take waits for a message and takes it, until ctx ends or the connection has
// ended and all is taken.
func (b *inbox) take(ctx context.Context) (client.Message, error) {
	for {
		m, ok, err := b.poll()
		if ok || err != nil {
			return m, err
		}
		select {
		case <-b.changed:
		case <-ctx.Done():
			return m, context.Cause(ctx)
		}
	}
}

// figures are the numbers of messages received, and of those that wait; and
// why the connection ended, if it did.
func (b *inbox) figures() (received, waiting int, lost error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.received, len(b.queue), b.lost
}
