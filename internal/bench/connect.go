package bench

import (
	"context"
	"fmt"
	"time"
)

func (w *worker) makeFlows() {
	w.flow = make([]flow, w.flows)
	topics := make([][]byte, w.s.Topics)
	for t := range topics {
		topics[t] = []byte(w.topic(t))
	}
	for f := range w.flow {
		w.flow[f].topic = topics[w.topicOf(f)]
		if w.layout.own {
			w.flow[f].only = w.topicOf(f) % max(1, w.s.Subscribers)
		}
	}
	if n := w.trackers(); !w.s.shared() || n <= maxTrackers {
		w.tracker = make([]tracker, n)
	}
	if w.s.shared() {
		w.seen = make([]bitset, w.flows)
	}
	if n := w.flows * w.s.Messages; n > 0 && n <= maxLasts && !w.s.Offline {
		w.lasts = make([]int64, n)
	}
}

func (w *worker) makeClients() {
	var all []client
	add := func(c client) { all = append(all, c) }
	for n := range w.s.Subscribers {
		if w.hasSubscriber(n) {
			add(client{role: subscriber, n: n, slow: n < w.s.SlowReaders})
		}
	}
	if w.s.Wills {
		add(client{role: watcher})
	}
	for n := range w.s.Clients {
		if w.mine(n) {
			add(client{role: idler, n: n})
		}
	}
	for n := range w.s.Publishers {
		if w.mine(n) {
			add(client{role: publisher, n: n, pub: new(publishing)})
		}
	}
	if w.s.Churn > 0 {
		for n := range churnRoom(w.s.Churn / float64(w.Procs)) {
			add(client{role: comer, n: n})
		}
	}
	if w.s.Retained > 0 {
		add(client{role: retainer, pub: new(publishing)})
		for n := range w.s.Readers {
			add(client{role: reader, n: n, read: new(reading)})
		}
	}
	w.clients = all // they have their place from here on
	byPublisher := map[int]*client{}
	for i := range w.clients {
		c := &w.clients[i]
		c.conn.Index = i
		switch {
		case c.role == publisher:
			byPublisher[c.n] = c
		case c.role == retainer:
			w.retained.by = c
		case c.role == reader:
			w.retained.readers = append(w.retained.readers, c)
		case c.role == comer:
			w.freeComers = append(w.freeComers, c)
		case c.slow:
			c.conn.ReadRate = w.s.SlowRate
		case c.role == subscriber && !w.s.shared():
			w.wanted(c.n, func(f int) { w.flow[f].copies++ })
		}
	}
	for f := range w.flow {
		if c := byPublisher[w.publisherOf(f)]; c != nil {
			w.flow[f].pub = c
			w.sends = append(w.sends, int32(f))
			c.pub.flows = append(c.pub.flows, int32(f))
		}
		if w.s.shared() && w.hasSubscriber(0) {
			w.flow[f].copies = 1
		}
	}
}

// connect connects and subscribes: those who listen first.
func (w *worker) connect(ctx context.Context) error {
	w.begin = w.now()
	listens := func(c *client) bool { return c.role == subscriber || c.role == watcher }
	if err := w.connectThose(ctx, listens); err != nil {
		return err
	}
	err := w.connectThose(ctx, func(c *client) bool { return !listens(c) && c.role != comer })
	w.connectedAll = true
	return err
}

func (w *worker) connectThose(ctx context.Context, those func(*client) bool) error {
	var list []*client
	for i := range w.clients {
		if those(&w.clients[i]) {
			list = append(list, &w.clients[i])
		}
	}
	begun, before := 0, w.readyCount
	first := w.now()
	w.progressAt = first
	for done := 0; done < len(list) && w.interrupted == 0; done = w.readyCount - before {
		next := never
		for ; begun < len(list) && begun-done < w.connectRoom(); begun++ {
			due := w.now()
			if w.s.ConnectRate > 0 {
				due = first + time.Duration(float64(begun*w.Procs+w.Proc)*float64(time.Second)/w.s.ConnectRate)
			}
			if due > w.now() {
				next = due
				break
			}
			w.dial(list[begun], due)
		}
		if err := w.turn(ctx, next); err != nil {
			return err
		}
		if w.interrupted == 0 && w.stalled(connectLimit) {
			return fmt.Errorf("%d of %d clients could not connect and subscribe: no answer for %v", len(list)-done, len(list), connectLimit)
		}
	}
	return nil
}

// connectRoom is how many connections may be under way: more with a rate, so
// that a slow broker is charged for the delay.
func (w *worker) connectRoom() int {
	if w.s.ConnectRate > 0 {
		return 4 * connectBatch
	}
	return connectBatch
}

// layDown publishes all retained messages, or removes them, and waits for the
// acknowledgements. They are sent at QoS 1 at least, so that the broker has them.
func (w *worker) layDown(ctx context.Context, remove bool) error {
	r := &w.retained
	begun := w.now()
	r.sent, r.acked, w.progressAt = 0, 0, begun
	for r.acked < w.s.Retained && r.by.stage == ready && (w.interrupted == 0 || remove) {
		w.layMore(remove)
		if err := w.turn(ctx, never); err != nil {
			return err
		}
		if w.stalled(connectLimit) {
			return fmt.Errorf("%d of %d retained messages were not acknowledged: no answer for %v", w.s.Retained-r.acked, w.s.Retained, connectLimit)
		}
	}
	if !remove {
		w.out.LayTime = w.now() - begun
	}
	return nil
}
