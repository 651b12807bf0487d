package bench

import (
	"context"
	"fmt"
	"math"
	"time"

	"midge/internal/packet"
)

// drain waits until everything that was sent has arrived, or nothing does any
// more. sent is by flow, of all workers.
func (w *worker) drain(ctx context.Context, sent []uint32) error {
	w.phase = "draining"
	if len(sent) != w.flows {
		return fmt.Errorf("the coordinator knows %d flows of %d", len(sent), w.flows)
	}
	w.progressAt = w.now()
	for i := range w.clients {
		c := &w.clients[i]
		if c.slow && c.stage == ready {
			w.loop.Throttle(&c.conn, 0)
			c.conn.ReadRate = 0
		}
	}
	if w.s.Offline && w.interrupted == 0 {
		if err := w.resume(ctx); err != nil {
			return err
		}
	}
	due := w.expected(sent)
	for w.received < due || w.inflight > 0 || w.out.Wills < w.out.WillsDue || w.retained.reading > 0 || w.busyComers() {
		if w.stalled(time.Duration(w.s.Drain)) || w.interrupted > 0 && w.now() > w.interrupted+hurry {
			break
		}
		if err := w.turn(ctx, never); err != nil {
			return err
		}
	}
	for until := w.now() + quiet; w.now() < until; {
		if err := w.turn(ctx, until); err != nil {
			return err
		}
	}
	if w.metered == 1 { // a number of messages ends when they have come
		w.metered = 2
		w.out.Use = w.usage.read()
	}
	return nil
}

// awaitAcknowledgements waits until the broker has taken all messages for
// clients that are away. If it is to be started again, all others leave too.
func (w *worker) awaitAcknowledgements(ctx context.Context) error {
	for w.inflight > 0 && !w.stalled(time.Duration(w.s.Drain)) {
		if err := w.turn(ctx, never); err != nil {
			return err
		}
	}
	w.out.PublishEnd = w.now()
	for i := range w.clients {
		if c := &w.clients[i]; w.s.Restart != RestartNone && c.stage == ready {
			w.disconnect(c)
		}
	}
	return nil
}

// expected is how many messages are to arrive here in all.
func (w *worker) expected(sent []uint32) (n uint64) {
	if w.s.shared() {
		if w.hasSubscriber(0) {
			for _, s := range sent {
				n += uint64(s)
			}
		}
		return n
	}
	for i := range w.clients {
		if c := &w.clients[i]; c.role == subscriber && w.returns(c.n) {
			w.wanted(c.n, func(f int) { n += uint64(sent[f]) })
		}
	}
	return n
}

// resume has offline subscribers return for what waits for them.
func (w *worker) resume(ctx context.Context) error {
	w.resumedAt = w.now()
	begun, total := 0, 0
	for i := range w.clients {
		if c := &w.clients[i]; c.role == subscriber && w.returns(c.n) {
			total++
		}
	}
	for i := 0; w.returnedCount+w.lostClients < total && w.interrupted == 0; {
		for ; i < len(w.clients) && begun-w.returnedCount < connectBatch; i++ {
			if c := &w.clients[i]; c.role == subscriber && w.returns(c.n) {
				c.back = true
				w.dial(c, w.now())
				begun++
			}
		}
		if err := w.turn(ctx, never); err != nil {
			return err
		}
		if w.interrupted == 0 && w.stalled(connectLimit) {
			return fmt.Errorf("%d sessions could not be resumed: no answer for %v", total-w.returnedCount, connectLimit)
		}
	}
	return nil
}

// sum counts what is missing, and encodes the histograms.
func (w *worker) sum(sent []uint32) error {
	if w.s.shared() && w.hasSubscriber(0) {
		for f := range w.seen {
			missing := uint64(sent[f] - min(sent[f], w.seen[f].unique))
			if w.interrupted > 0 { // members of a group get messages in any order
				w.out.UnderWay += missing
			} else {
				w.out.Faulty.Lost += missing
			}
		}
	}
	if !w.s.shared() {
		for i := range w.clients {
			w.missing(&w.clients[i], sent)
		}
	}
	for _, c := range w.retained.readers {
		missing := w.unread(c)
		if w.interrupted > 0 {
			w.out.UnderWay += missing
		} else if missing > 0 {
			w.out.Faulty.Lost += missing
			w.detail("reader %d got %d of %d retained messages", c.n, c.read.got.unique, w.s.Retained)
		}
	}
	if w.interrupted > 0 {
		w.out.Unanswered = uint64(w.inflight)
		w.forgetPartial()
	} else {
		w.out.Faulty.Unacknowledged = uint64(w.inflight)
		w.out.Faulty.Lost += w.out.WillsDue - min(w.out.WillsDue, w.out.Wills)
	}
	w.out.Slow.Readers = 0
	for i := range w.clients {
		if w.clients[i].slow {
			w.out.Slow.Readers++
		}
	}
	w.out.Lasts = w.lasts
	if w.s.Offline {
		w.out.Returned, w.out.Resumed, w.out.ResumeTime = w.returnedCount, w.received, max(0, w.out.LastReceipt-w.resumedAt)
	}
	for _, h := range []struct {
		from histogram
		to   *string
	}{
		{w.latency, &w.out.Latency},
		{w.ackTime, &w.out.Ack},
		{w.lag, &w.out.Lag},
		{w.connectTime, &w.out.Connect},
		{w.churnTime, &w.out.Churn},
		{w.firstTime, &w.out.First},
		{w.wholeTime, &w.out.Whole},
		{w.meanwhile, &w.out.Meanwhile},
	} {
		var err error
		if *h.to, err = h.from.encode(); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) missing(c *client, sent []uint32) {
	if c.role != subscriber || !w.returns(c.n) {
		return
	}
	w.wanted(c.n, func(f int) {
		t := &w.tracker[w.track(c.n, f)]
		lost := t.lost(sent[f])
		if w.interrupted > 0 { // only what later ones have overtaken is lost: the others might have come
			gaps := min(lost, t.gaps())
			w.out.UnderWay += lost - gaps
			lost = gaps
		}
		switch {
		case lost == 0:
		case c.slow:
			w.out.Slow.Lost += lost
		default:
			w.out.Faulty.Lost += lost
			w.detail("subscriber %d got %d of the %d messages of flow %d", c.n, t.unique, sent[f], f)
		}
	})
}

// partialReceipt marks a message in lasts that not all of its subscribers here got.
const partialReceipt = math.MaxInt64

// forgetPartial marks the messages of an interrupted run that were still on
// their way to some of their subscribers: their last receipt is not known.
func (w *worker) forgetPartial() {
	if w.lasts == nil || w.s.shared() {
		return
	}
	whole := make([]uint32, w.flows) // how many messages of a flow all have
	for f := range whole {
		whole[f] = uint32(w.s.Messages)
	}
	for i := range w.clients {
		if c := &w.clients[i]; c.role == subscriber && !c.slow && w.returns(c.n) {
			w.wanted(c.n, func(f int) { whole[f] = min(whole[f], w.tracker[w.track(c.n, f)].next) })
		}
	}
	for f, n := range whole {
		for seq := int(n); seq < w.s.Messages; seq++ {
			w.lasts[f*w.s.Messages+seq] = partialReceipt
		}
	}
}

// leave removes what the run would leave behind at the broker, and
// disconnects.
func (w *worker) leave(ctx context.Context) error {
	w.leaving = true
	for _, f := range w.sends {
		if c := w.flow[f].pub; w.s.Retain && !w.Discard && c.stage == ready {
			p := packet.Publish{Retain: true, Topic: w.flow[f].topic}
			c.conn.Out = p.Append(c.conn.Out, w.Version)
			w.loop.Touch(&c.conn)
		}
	}
	if err := w.turn(ctx, w.now()); err != nil {
		return err
	}
	if w.s.Retained > 0 && !w.Discard {
		for _, c := range w.retained.readers {
			w.disconnect(c)
		}
		if err := w.layDown(ctx, true); err != nil {
			return err
		}
	}
	someAway := w.interrupted > 0 || w.s.Offline && w.s.Returning < w.s.Subscribers // who can't say good-bye
	clean := w.s.Keep && !w.Discard && (w.Version == packet.V311 || someAway)
	for i := range w.clients {
		c := &w.clients[i]
		if c.stage == gone {
			continue
		}
		if c.role == subscriber && w.s.Keep && w.Version == packet.V5 && c.stage == ready {
			p := packet.Disconnect{}
			p.Properties.Set(packet.PropSessionExpiry) // 0: the session ends
			c.conn.Out = p.Append(c.conn.Out, w.Version)
			w.loop.Close(&c.conn)
			c.stage = away
			continue
		}
		w.disconnect(c)
	}
	if clean {
		return w.removeSessions(ctx)
	}
	return nil
}

// removeSessions connects with Clean Session, which is how MQTT 3.1.1 ends a
// session.
func (w *worker) removeSessions(ctx context.Context) error {
	w.cleaning = true
	w.fatal = nil
	w.progressAt = w.now()
	under := 0
	for i := 0; i < len(w.clients) || under > 0; {
		for ; i < len(w.clients) && under < connectBatch; i++ {
			if c := &w.clients[i]; c.role == subscriber && c.stage == away {
				w.dial(c, w.now())
				under++
			}
		}
		before := w.progress
		if err := w.turn(ctx, never); err != nil {
			return err
		}
		under -= int(w.progress - before)
		if w.stalled(connectLimit) {
			return fmt.Errorf("sessions of the run are left at the broker: no answer for %v", connectLimit)
		}
	}
	return nil
}
