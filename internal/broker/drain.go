package broker

import "time"

// A client that publishes, disconnects and comes back at once is there twice for
// a moment, and nothing says which connection is read first. So before a CONNECT
// takes over, what had arrived on the older connection is handled: messages are
// not lost, and a DISCONNECT keeps the will from being published.

// draining is a connection whose input is handled to its end, because others want
// its client id.
type draining struct {
	old     *conn
	waiting []*conn // whose CONNECT waits for the end
	timer   timer
}

// drainTime bounds that. A connection that is paused, because its messages wait
// for the disk or for other shards, can't be drained before; its client is not to
// wait for that for long.
const drainTime = time.Second

// drains are those of a shard.
type drains struct {
	byConn map[*conn]*draining
	timers *wheel
}

func (all *drains) init(timers *wheel) { all.byConn, all.timers = map[*conn]*draining{}, timers }

// wait makes a connection wait until an older one is drained. It reports whether
// that begins now.
func (all *drains) wait(old, c *conn, now time.Duration) (d *draining, begins bool) {
	if d = all.byConn[old]; d == nil {
		d, begins = &draining{old: old}, true
		d.timer.owner = d
		all.byConn[old] = d
		all.timers.start(&d.timer, now+drainTime)
	}
	d.waiting = append(d.waiting, c)
	return d, begins
}

// end ends a draining: its input was handled, or the time is over. It returns
// those that have waited, none if it had ended before.
func (all *drains) end(d *draining) (waited []*conn) {
	if all.byConn[d.old] != d {
		return nil
	}
	delete(all.byConn, d.old)
	all.timers.stop(&d.timer)
	return d.waiting
}
