package bench

import (
	"context"
	"runtime"
	"time"

	"midge/internal/bench/loop"
)

func newWorker(p *plan, orders <-chan order, reports chan<- report) (*worker, error) {
	w := &worker{
		layout: newLayout(p), orders: orders, reports: reports, started: time.Now(), phase: "connecting",
		latency: newHistogram(), ackTime: newHistogram(), lag: newHistogram(), connectTime: newHistogram(), churnTime: newHistogram(),
		firstTime: newHistogram(), wholeTime: newHistogram(), meanwhile: newHistogram(),
	}
	w.offset = w.started.Sub(p.Epoch)
	if w.s.Messages > 0 {
		w.end = never // also for what comes before this worker knows when the others began
	}
	cfg, err := p.loopConfig()
	if err != nil {
		return nil, err
	}
	if w.loop, err = loop.New(cfg, w); err != nil {
		return nil, err
	}
	w.payload = make([]byte, w.s.Size)
	for i := range w.payload {
		w.payload[i] = byte('a' + i%26)
	}
	w.makeFlows()
	w.makeClients()
	return w, nil
}

// work does the worker's part of a run. The last report is Error or Final.
func (w *worker) work(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	exactTimers()
	err := w.run(ctx)
	if shut := w.loop.Shut(); err == nil {
		err = shut
	}
	if err != nil {
		w.reports <- report{Error: err.Error()}
		return
	}
	w.reports <- report{Final: &w.out}
}

func (w *worker) run(ctx context.Context) error {
	if err := w.connect(ctx); err != nil {
		return err
	}
	w.reports <- report{Connected: &connected{Clients: w.readyCount, Engine: w.loop.Engine()}}
	if w.s.Retained > 0 {
		w.phase = "laying down"
		if err := w.layDown(ctx, false); err != nil {
			return err
		}
		w.reports <- report{Laid: true}
	}
	start, err := w.await(ctx)
	if err != nil {
		return err
	}
	w.schedule(start.Start)
	if err := w.publishAll(ctx); err != nil {
		return err
	}
	if w.s.Offline {
		if err := w.awaitAcknowledgements(ctx); err != nil {
			return err
		}
	}
	w.reports <- report{Sent: w.sentTable()}
	finish, err := w.await(ctx)
	if err != nil {
		return err
	}
	if err := w.drain(ctx, finish.Sent); err != nil {
		return err
	}
	if err := w.sum(finish.Sent); err != nil {
		return err
	}
	if err := w.leave(ctx); err != nil {
		w.out.Left = err.Error() // no reason to throw away what was measured
	}
	return nil
}
