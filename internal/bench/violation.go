package bench

import (
	"fmt"

	"midge/internal/packet"
)

func (w *worker) corrupt(p *packet.Publish) {
	w.out.Faulty.Corrupt++
	w.detail("a message on %s of %d bytes at QoS %d is not one that was sent", p.Topic, len(p.Payload), p.QoS)
}

func (w *worker) misrouted(format string, args ...any) {
	w.out.Faulty.Misrouted++
	w.detail(format, args...)
}

// violation counts a packet that the standard doesn't allow, and ends the
// connection.
func (w *worker) violation(c *client, err error) {
	w.out.Faulty.Protocol++
	w.detail("protocol error by the broker: %v", err)
	w.loop.Close(&c.conn)
	w.broken(c, fmt.Errorf("protocol error by the broker: %w", err))
}

func (w *worker) violated(c *client, format string, args ...any) {
	w.violation(c, fmt.Errorf(format, args...))
}

// refused ends a connection that never became one.
func (w *worker) refused(c *client, err error) {
	w.loop.Close(&c.conn)
	if w.cleaning {
		w.progress++
		c.stage = gone
		return
	}
	if c.role == comer || w.connectedAll {
		w.out.Faulty.Disconnected++
		w.detail("a client could not connect: %v", err)
	}
	w.broken(c, err)
}

// ended counts a connection that the broker ended.
func (w *worker) ended(c *client, err error) {
	switch {
	case c.slow:
		w.out.Slow.Disconnected++
	default:
		w.out.Faulty.Disconnected++
		w.detail("a client was disconnected: %v", err)
	}
	w.broken(c, err)
}

// broken goes on without a client. While connecting, the run can't.
func (w *worker) broken(c *client, err error) {
	c.stage = gone
	if c.role == comer {
		w.freeComer(c)
		return
	}
	w.lostClients++
	if missing := w.unread(c); missing > 0 {
		w.out.Faulty.Lost += missing
		w.hasRead(c, w.now())
	}
	if !w.connectedAll && w.fatal == nil {
		w.fatal = fmt.Errorf("client %s: %w", w.clientID(c.role, c.n), err)
	}
}

// maxDetails is how many different things that went wrong are told.
const maxDetails = 5

func (w *worker) detail(format string, args ...any) {
	if len(w.out.Details) < maxDetails {
		w.out.Details = append(w.out.Details, fmt.Sprintf(format, args...))
	}
}
