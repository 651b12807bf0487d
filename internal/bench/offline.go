package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"midge/internal/proc"
)

// sampleEvery is how often the broker's memory is read while sessions get what
// has waited for them.
const sampleEvery = 100 * time.Millisecond

// resumption is what the broker uses while sessions get what has waited for
// them.
type resumption struct {
	cpu    time.Duration
	growth int64         // of resident memory, at most, in bytes
	end    chan struct{} // of sampling the memory; nil before it has begun
	ended  chan struct{}
	once   sync.Once
}

// stop ends the sampling of memory. It may be called twice.
func (r *resumption) stop() {
	if r.end == nil {
		return
	}
	r.once.Do(func() { close(r.end) })
	<-r.ended
}

// away measures the broker when it has taken the messages for clients that are
// away, starts it again if the scenario says so, and begins to measure what it
// takes to hand them out.
func (c *coordinator) away(ctx context.Context, sent []uint32) error {
	s := &c.plan.Scenario
	c.rest(ctx)
	if c.interrupted > 0 {
		return nil
	}
	if c.broker != nil {
		if s.Messages > 0 {
			c.brokerUsed()
		}
		if err := c.waiting(sent); err != nil {
			return err
		}
	}
	if s.Restart != RestartNone {
		if err := c.restart(ctx); err != nil {
			return err
		}
	}
	if c.broker != nil && c.interrupted == 0 {
		return c.resuming()
	}
	return nil
}

// waiting relates the memory that the broker has taken to the messages that
// wait.
func (c *coordinator) waiting(sent []uint32) error {
	n := uint64(0)
	for _, count := range sent {
		n += uint64(count)
	}
	rss, err := proc.RSS(c.target.PID)
	if err != nil {
		return err
	}
	c.result.BrokerUse.RSSPerMsg = float64(max(0, rss-c.rss)) / float64(max(1, n))
	return nil
}

// restart ends the broker and starts it again.
func (c *coordinator) restart(ctx context.Context) error {
	s := &c.plan.Scenario
	c.say("the broker is ended (%s) and started again", s.Restart)
	how, err := c.target.Restart(ctx, s.Restart == RestartKill)
	if err != nil {
		return fmt.Errorf("start the broker again: %w", err)
	}
	r := &Restarted{How: s.Restart, StopSeconds: how.Stop.Seconds(), StartSeconds: how.Start.Seconds()}
	c.result.Restarted = r
	if c.target.PID = how.PID; c.broker == nil || how.PID == 0 {
		c.broker = nil
		return nil
	}
	if c.broker, err = openMeter(how.PID); err != nil {
		return err
	}
	c.rest(ctx)
	if r.RSS, err = proc.RSS(how.PID); err != nil {
		return err
	}
	r.RSSPerClient = float64(max(0, r.RSS-c.result.BrokerUse.EmptyRSS)) / float64(s.Subscribers)
	return nil
}

// resuming begins to measure.
func (c *coordinator) resuming() error {
	before, err := proc.RSS(c.target.PID)
	if err != nil {
		return err
	}
	if err := c.broker.restart(); err != nil {
		return err
	}
	r := &c.resume
	r.end, r.ended = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(r.ended)
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			if now, err := proc.RSS(c.target.PID); err == nil { // a broker that has ended is noticed at its connections
				r.growth = max(r.growth, now-before)
			}
			select {
			case <-tick.C:
			case <-r.end:
				return
			}
		}
	}()
	return nil
}
