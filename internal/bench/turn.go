package bench

import (
	"context"
	"errors"
	"time"
)

// turn lets the network have a turn, until next at the latest, and does what
// is done in all phases.
func (w *worker) turn(ctx context.Context, next time.Duration) error {
	wait := turnLimit
	if next != never {
		wait = min(max(0, next-w.now()), turnLimit)
	}
	if err := w.loop.Turn(wait); err != nil {
		return err
	}
	if err := w.receiveOrder(); err != nil {
		return err
	}
	now := w.now()
	if len(w.blocked) > 0 {
		w.unblock(now)
	}
	w.ping(now)
	if w.progress != w.seenAt {
		w.seenAt, w.progressAt = w.progress, now
	}
	w.measure(now)
	if now >= w.nextTick {
		w.nextTick = now + tickEvery
		select {
		case w.reports <- report{Progress: w.tick(now)}:
		default: // the coordinator is busy; the next one tells more
		}
	}
	if w.fatal != nil {
		return w.fatal
	}
	return ctx.Err()
}

func (w *worker) tick(now time.Duration) *tick {
	if w.phase == "warming up" && now >= w.measureFrom {
		w.phase = "measuring"
	}
	return &tick{Phase: w.phase, Connections: w.readyCount - w.lostClients, Published: w.sent, Received: w.received, Faults: w.out.Faulty.Sum()}
}

// measure reads the use of CPU time when measuring begins and when it ends.
func (w *worker) measure(now time.Duration) {
	if w.metered == 0 && w.publishing && now >= w.measureFrom {
		w.metered = 1
		w.usage = selfMeter()
	}
	if w.metered == 1 && now >= w.end {
		w.metered = 2
		w.out.Use = w.usage.read()
	}
}

// receiveOrder takes an order, if there is one.
func (w *worker) receiveOrder() error {
	select {
	case o, ok := <-w.orders:
		switch {
		case !ok:
			return errors.New("the coordinator has ended")
		case o.Interrupt > 0:
			w.interrupted = o.Interrupt
			w.end = min(w.end, w.interrupted)
			w.toSend = w.planned()
		default:
			w.next = &o
		}
	default:
	}
	return nil
}

// await turns until the coordinator says how to go on.
func (w *worker) await(ctx context.Context) (order, error) {
	for w.next == nil {
		if err := w.turn(ctx, never); err != nil {
			return order{}, err
		}
	}
	o := *w.next
	w.next = nil
	return o, nil
}
