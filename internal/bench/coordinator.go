package bench

import (
	"context"
	"fmt"
	"time"

	"midge/internal/proc"
)

// coordinator runs workers and gathers what they report.
type coordinator struct {
	target  Target
	options Options
	plan    *plan
	members []*member
	broker  *meter // nil without a process id
	empty   int64  // private memory of the broker before the first client
	rss     int64  // of the broker when all clients were connected
	resume  resumption
	result  *Result
	latest  []tick // by worker
	shown   time.Time
	before  Progress // shown last
	started time.Time

	// Of an interrupted run: closed then, and when it ends, on the clock.
	interruption         chan struct{}
	interrupted          time.Duration
	phase, interruptedIn phase
}

// phase is how far the workers are.
type phase uint8

const (
	connecting phase = iota
	sending
	draining
)

// member is a worker as the coordinator sees it: what goes to it and what
// comes from it. stop waits until it has ended.
type member struct {
	orders  chan order
	reports chan report
	stop    func() error
}

func (c *coordinator) note(text string) {
	c.result.Notes = append(c.result.Notes, text)
	c.say("%s", text)
}

func (c *coordinator) say(format string, args ...any) {
	if c.options.Log != nil {
		fmt.Fprintf(c.options.Log, format+"\n", args...)
	}
}

// soon is a time on the clock before which an order arrives everywhere.
func (c *coordinator) soon() time.Duration {
	lead := 20 * time.Millisecond
	if len(c.members) > 1 {
		lead = 200 * time.Millisecond
	}
	return time.Since(c.plan.Epoch) + lead
}

// interrupt has the run end soon, and the workers tell what they have.
func (c *coordinator) interrupt() {
	if c.interrupted > 0 {
		return
	}
	c.interrupted, c.interruptedIn = c.soon(), c.phase
	c.say("interrupted: what was measured follows; a second time ends at once")
	close(c.interruption)
	for _, m := range c.members {
		m.orders <- order{Interrupt: c.interrupted}
	}
}

// awaitRest waits, where the scenario gives time to settle, until the broker without clients
// holds no more memory than it needs: one that has just been started may give some back, and what
// clients add must not vanish in that.
func (c *coordinator) awaitRest(ctx context.Context) (err error) {
	if c.broker == nil {
		return nil
	}
	read := func() (int64, error) { return privateMemory(c.target.PID) }
	if c.empty, err = leastMemory(ctx, read, time.Duration(c.plan.Scenario.Settle)); err != nil {
		return err
	}
	if c.result.BrokerUse.EmptyRSS, err = proc.RSS(c.target.PID); err != nil {
		return err
	}
	return c.broker.restart()
}

// rest gives the broker time to come to rest.
func (c *coordinator) rest(ctx context.Context) {
	select {
	case <-time.After(time.Duration(c.plan.Scenario.Settle)):
	case <-ctx.Done():
		c.interrupt()
	}
}

func (c *coordinator) brokerUsed() {
	before := *c.result.BrokerUse
	u := c.broker.read()
	u.EmptyRSS, u.RSSPerConn, u.ConnectMicros = before.EmptyRSS, before.RSSPerConn, before.ConnectMicros
	*c.result.BrokerUse = u
}
