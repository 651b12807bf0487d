package bench

import (
	"time"

	"midge/internal/packet"
)

// comeAndGo starts the clients that are due to connect, and returns when the
// next one is. While none is free, the due ones wait; their connecting time
// counts from when they were due.
func (w *worker) comeAndGo(now time.Duration) time.Duration {
	if w.s.Churn == 0 || !w.publishing || len(w.freeComers) == 0 {
		return never
	}
	for {
		due := w.begin + time.Duration((float64(w.out.Churned)*float64(w.Procs)+float64(w.Proc))*float64(time.Second)/w.s.Churn)
		if due >= w.end {
			return never
		}
		if due > now || len(w.freeComers) == 0 {
			return due
		}
		last := len(w.freeComers) - 1
		c := w.freeComers[last]
		w.freeComers = w.freeComers[:last]
		w.out.Churned++
		w.dial(c, due)
	}
}

// leaveAgain ends the connection of one that came and goes; with a will it
// hangs up.
func (w *worker) leaveAgain(c *client) {
	w.progress++
	if w.s.Wills {
		w.out.WillsDue++
		w.loop.Close(&c.conn)
		c.stage = away
	} else {
		w.disconnect(c)
	}
	w.freeComer(c)
}

func (w *worker) freeComer(c *client) {
	c.suback = 0
	w.freeComers = append(w.freeComers, c)
}

// ping keeps connections alive that don't send: all of them, spread over half
// of the keep-alive time.
func (w *worker) ping(now time.Duration) {
	if w.s.KeepAlive == 0 || len(w.clients) == 0 {
		return
	}
	half := time.Duration(w.s.KeepAlive) / 2
	for w.pinged < int64(now/max(1, half/time.Duration(len(w.clients)))) {
		c := &w.clients[w.pinged%int64(len(w.clients))]
		w.pinged++
		if c.stage == ready {
			c.conn.Out = packet.Pingreq{}.Append(c.conn.Out, w.Version)
			w.loop.Touch(&c.conn)
		}
	}
}

func (w *worker) comers() int {
	if w.s.Churn == 0 {
		return 0
	}
	return churnRoom(w.s.Churn / float64(w.Procs))
}

// busyComers reports whether some of those that come and go are still here.
func (w *worker) busyComers() bool { return len(w.freeComers) < w.comers() }
