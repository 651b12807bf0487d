package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// each takes reports until take has said of each worker that its phase is
// over. Progress is passed on meanwhile, and the end of ctx, as an interruption.
func (c *coordinator) each(ctx context.Context, take func(i int, r report) bool) error {
	type from struct {
		i  int
		r  report
		ok bool
	}
	all := make(chan from)
	done := make(chan struct{})
	defer close(done)
	for i, m := range c.members {
		go func() {
			for {
				select {
				case r, ok := <-m.reports:
					select {
					case all <- from{i, r, ok}:
					case <-done:
						return
					}
					if !ok || r.Progress == nil {
						return // the end of the phase: the next reports are for the next one
					}
				case <-done:
					return
				}
			}
		}()
	}
	interrupted := ctx.Done()
	for left := len(c.members); left > 0; {
		select {
		case <-interrupted:
			c.interrupt()
			interrupted = nil
		case f := <-all:
			switch {
			case !f.ok:
				return fmt.Errorf("worker %d ended without a result", f.i)
			case f.r.Error != "":
				return errors.New(f.r.Error)
			case f.r.Progress != nil:
				c.latest[f.i] = *f.r.Progress
				c.show()
			case take(f.i, f.r):
				left--
			default:
				return fmt.Errorf("worker %d is out of step", f.i)
			}
		}
	}
	return nil
}

// show passes progress on, once a second.
func (c *coordinator) show() {
	now := time.Now()
	since := now.Sub(c.shown)
	if c.options.Progress == nil || since < time.Second {
		return
	}
	p := Progress{Elapsed: now.Sub(c.started), Phase: c.latest[0].Phase}
	for _, t := range c.latest {
		p.Connections += t.Connections
		p.Published += t.Published
		p.Received += t.Received
		p.Faults += t.Faults
	}
	if !c.shown.IsZero() {
		p.PublishRate = float64(p.Published-min(p.Published, c.before.Published)) / since.Seconds()
		p.ReceiveRate = float64(p.Received-min(p.Received, c.before.Received)) / since.Seconds()
	}
	c.shown, c.before = now, p
	c.options.Progress(p)
}

// maxOf returns the larger values of two tables, which may be empty.
func maxOf(a, b []int64) []int64 {
	if len(a) == 0 {
		return slices.Clone(b)
	}
	for i := range b {
		a[i] = max(a[i], b[i])
	}
	return a
}
