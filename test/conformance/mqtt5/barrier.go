package mqtt5

import "fmt"

// Barrier is a topic over which silence is proved. Its client subscribes to it
// before whatever must not reach the client can happen.
type Barrier struct {
	c     *Client
	topic string
	sent  int
}

// NewBarrier subscribes to topic, which must be the barrier's own.
func NewBarrier(c *Client, topic string) *Barrier {
	c.t.Helper()
	c.Subscribe(topic, 0)
	return &Barrier{c: c, topic: topic}
}

// Silent proves that nothing has come to the client of what from has caused so
// far: a message that from sends now is the next that arrives.
func (b *Barrier) Silent(from *Client) {
	b.c.t.Helper()
	b.sent++
	payload := fmt.Sprint("barrier ", b.sent)
	from.Publish(b.topic, payload, 0)
	b.c.ExpectMessage(b.topic, payload, 0)
}
