package bench

import (
	"context"
	"math"
	"time"
)

// schedule sets the times of the run.
func (w *worker) schedule(start time.Duration) {
	w.begin = start
	w.measureFrom = start + time.Duration(w.s.WarmUp)
	w.end = w.measureFrom + time.Duration(w.s.Duration)
	if w.s.Messages > 0 {
		w.measureFrom, w.end = start, never
	}
	if w.interrupted > 0 {
		w.end = min(w.end, w.interrupted)
	}
}

// publishAll publishes until the time has passed, or all messages are sent.
func (w *worker) publishAll(ctx context.Context) error {
	w.phase = "warming up"
	for w.now() < w.begin {
		if err := w.turn(ctx, w.begin); err != nil {
			return err
		}
	}
	w.publishing, w.progressAt = true, w.begin
	w.toSend = w.planned()
	if w.s.Rate == 0 {
		for _, f := range w.sends {
			w.pump(int(f), w.now(), false)
		}
	}
	for w.sent < w.toSend || w.now() < w.end && w.s.Messages == 0 {
		now := w.now()
		next := min(w.comeAndGo(now), w.readAgain(now))
		if w.s.Rate > 0 {
			next = min(next, w.sendDue(now))
		}
		if now < w.end {
			next = min(next, w.end)
		}
		if err := w.turn(ctx, next); err != nil {
			return err
		}
		if w.now() >= w.end && (w.s.Rate == 0 || w.s.Messages > 0) || w.hopeless() {
			break
		}
	}
	w.publishing, w.out.PublishEnd = false, w.now()
	if w.toSend != math.MaxUint64 && !(w.interrupted > 0 && w.s.Messages > 0) {
		w.out.Late = w.toSend - min(w.toSend, w.sent)
	}
	return nil
}

// hopeless reports whether what is left to send will not be sent.
func (w *worker) hopeless() bool {
	if len(w.clients) > 0 && w.lostClients == len(w.clients)-w.comers() {
		return w.s.Churn == 0
	}
	scheduled := w.begin
	switch {
	case w.s.Messages == 0:
		scheduled = w.end
	case w.s.Rate > 0:
		scheduled += time.Duration(float64(w.s.Messages) * float64(w.flows) / w.s.Rate * float64(time.Second))
	}
	return w.sent < w.toSend && w.now() >= scheduled && w.stalled(time.Duration(w.s.Drain))
}

func (w *worker) sentTable() []uint32 {
	table := make([]uint32, w.flows)
	for _, f := range w.sends {
		table[f] = w.flow[f].sent
	}
	return table
}
