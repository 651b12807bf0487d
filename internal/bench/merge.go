package bench

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// merge makes the result of what the workers report.
func (c *coordinator) merge(finals []*partial, start time.Duration) error {
	r, s := c.result, &c.plan.Scenario
	latency, ack, lag, connect, churn := newHistogram(), newHistogram(), newHistogram(), newHistogram(), newHistogram()
	first, whole, meanwhile := newHistogram(), newHistogram(), newHistogram()
	var sum partial
	var details []string
	for _, p := range finals {
		err := errors.Join(latency.merge(p.Latency), ack.merge(p.Ack), lag.merge(p.Lag), connect.merge(p.Connect), churn.merge(p.Churn),
			first.merge(p.First), whole.merge(p.Whole), meanwhile.merge(p.Meanwhile))
		if err != nil {
			return err
		}
		sum.add(p)
		details = append(details, p.Details...)
	}
	if r.Retained == nil { // interrupted before that, or none
		r.Retained = new(Retained)
	}
	lasts := newHistogram()
	for _, d := range sum.Lasts {
		if d > 0 && d != partialReceipt {
			lasts.record(d)
		}
	}
	for _, h := range []struct {
		from histogram
		to   **Latency
	}{
		{latency, &r.Latency},
		{ack, &r.AckLatency},
		{lag, &r.Lag},
		{connect, &r.Connects.Time},
		{lasts, &r.LastReceipt},
		{first, &r.Retained.First},
		{whole, &r.Retained.Whole},
		{meanwhile, &r.Retained.Meanwhile},
	} {
		var err error
		if *h.to, err = h.from.latency(); err != nil {
			return err
		}
	}
	end := start + time.Duration(s.WarmUp) + time.Duration(s.Duration)
	if c.interrupted > 0 {
		end = min(end, c.interrupted)
	}
	published := max(0, end-start) // warm-up included
	r.Seconds = max(0, published-time.Duration(s.WarmUp)).Seconds()
	if s.Messages > 0 {
		r.Seconds = max(0, sum.LastReceipt-start).Seconds()
		if c.interrupted > 0 && sum.LastReceipt == 0 {
			r.Seconds = max(0, c.interrupted-start).Seconds()
		}
	}
	r.Published, r.Received = c.count(sum.Published), c.count(sum.Received)
	if s.Offline && sum.PublishEnd > start { // what came after that was not publishing
		r.Published.PerSecond = float64(sum.Published) / (sum.PublishEnd - start).Seconds()
	}
	r.Faulty = sum.Faulty
	c.others(&sum, churn, published)
	c.use(&sum)
	c.judge(&sum, details)
	return nil
}

func (c *coordinator) count(n uint64) Count {
	count := Count{Messages: n, Bytes: n * uint64(c.plan.Scenario.Size)}
	if c.result.Seconds > 0 {
		count.PerSecond = float64(n) / c.result.Seconds
	}
	return count
}

// add adds what another worker counted.
func (p *partial) add(o *partial) {
	p.Published += o.Published
	p.Received += o.Received
	p.Late += o.Late
	p.UnderWay += o.UnderWay
	p.Unanswered += o.Unanswered
	p.PublishEnd = max(p.PublishEnd, o.PublishEnd)
	p.LastReceipt = max(p.LastReceipt, o.LastReceipt)
	p.Lasts = maxOf(p.Lasts, o.Lasts)
	p.Churned += o.Churned
	p.WillsDue += o.WillsDue
	p.Wills += o.Wills
	p.LayTime = max(p.LayTime, o.LayTime)
	p.ReadTime = max(p.ReadTime, o.ReadTime)
	p.Read += o.Read
	p.Resumed += o.Resumed
	p.ResumeTime = max(p.ResumeTime, o.ResumeTime)
	p.Returned += o.Returned
	p.Left = cmp.Or(p.Left, o.Left)
	p.SessionsLost += o.SessionsLost
	p.Slow.Readers += o.Slow.Readers
	p.Slow.Received += o.Slow.Received
	p.Slow.Lost += o.Slow.Lost
	p.Slow.Disconnected += o.Slow.Disconnected
	p.Use.CPUSeconds += o.Use.CPUSeconds
	p.Use.CPUPercent += o.Use.CPUPercent
	p.Use.RSS += o.Use.RSS
	p.Use.Threads += o.Use.Threads
	f, g := &p.Faulty, &o.Faulty
	f.Lost += g.Lost
	f.Duplicates += g.Duplicates
	f.OutOfOrder += g.OutOfOrder
	f.Misrouted += g.Misrouted
	f.Corrupt += g.Corrupt
	f.Unacknowledged += g.Unacknowledged
	f.Protocol += g.Protocol
	f.Disconnected += g.Disconnected
	f.Refused += g.Refused
}

// others fills in what only some scenarios have.
func (c *coordinator) others(sum *partial, churn histogram, published time.Duration) {
	r, s := c.result, &c.plan.Scenario
	if s.Churn > 0 {
		r.Churned = &Churned{Connections: sum.Churned, WillsDue: sum.WillsDue, WillsReceived: sum.Wills}
		if published > 0 {
			r.Churned.PerSecond = float64(sum.Churned) / published.Seconds()
		}
		r.Churned.Time, _ = churn.latency() // what it holds was encoded before
	}
	if s.Retained > 0 {
		r.Retained.fill(sum)
	} else {
		r.Retained = nil
	}
	if s.SlowReaders > 0 {
		r.SlowReads = &sum.Slow
	}
	if s.Offline && (sum.Returned > 0 || c.interrupted == 0) {
		r.Resumed = &Resumed{Sessions: sum.Returned, Messages: sum.Resumed, Seconds: sum.ResumeTime.Seconds()}
		if r.Resumed.Seconds > 0 {
			r.Resumed.PerSecond = float64(sum.Resumed) / r.Resumed.Seconds
		}
	}
}

// fill takes what workers counted.
func (r *Retained) fill(sum *partial) {
	r.LaySeconds, r.Read = sum.LayTime.Seconds(), sum.Read
	if r.LaySeconds > 0 {
		r.LayPerSecond = float64(r.Messages) / r.LaySeconds
	}
	if r.Whole != nil && sum.ReadTime > 0 {
		r.PerSecond = float64(r.Whole.Count) * float64(r.Messages) / sum.ReadTime.Seconds()
	}
}

// use relates CPU time and memory to messages and connections.
func (c *coordinator) use(sum *partial) {
	r := c.result
	if c.interrupted > 0 && r.Seconds == 0 { // interrupted before that
		r.BrokerUse = nil
		return
	}
	r.BenchUse = sum.Use
	n := float64(max(sum.Received, sum.Published) + sum.Read)
	if c.plan.Scenario.Offline {
		n = float64(sum.Published)
	}
	if n > 0 {
		r.BenchUse.MicrosPerMsg = r.BenchUse.CPUSeconds * 1e6 / n
	}
	if u := r.BrokerUse; u != nil && n > 0 {
		u.MicrosPerMsg = u.CPUSeconds * 1e6 / n
		u.WrittenPerMsg = float64(u.WrittenBytes) / n
	}
	if r.Resumed != nil && r.Resumed.Messages > 0 {
		r.Resumed.MicrosPerMsg = c.resume.cpu.Seconds() * 1e6 / float64(r.Resumed.Messages)
		r.Resumed.RSSGrowth = c.resume.growth
	}
}

// noteInterruption says when the run was interrupted, and what it couldn't tell
// for that reason.
func (c *coordinator) noteInterruption(sum *partial) {
	r, s := c.result, &c.plan.Scenario
	r.Interrupted = c.interrupted.Seconds()
	note := func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }
	after := "interrupted after " + tenths(c.interrupted)
	switch measured := time.Duration(r.Seconds * float64(time.Second)); {
	case c.interruptedIn == connecting:
		note("%s, with %d of %d clients connected: nothing else was measured", after, r.Connects.Clients, s.Publishers+s.Subscribers+s.Clients)
	case c.interruptedIn == draining && s.Offline:
		note("%s, before all sessions had got their messages", after)
	case c.interruptedIn == draining:
		note("%s, while the last messages were under way", after)
	case s.Messages > 0:
		note("%s, before all messages were sent", after)
	case measured == 0:
		note("%s, while warming up: nothing was measured", after)
	default:
		note("%s, of which it measured for %s instead of %v", after, tenths(measured), s.Duration)
	}
	if sum.UnderWay+sum.Unanswered+sum.Late > 0 {
		note("when it ended, %d messages were under way, %d were not acknowledged, and %d that were due were not sent yet: that is no fault", sum.UnderWay, sum.Unanswered, sum.Late)
	}
}

// tenths writes a time with a tenth of a second.
func tenths(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }

// judge puts in words what went wrong.
func (c *coordinator) judge(sum *partial, details []string) {
	r, s := c.result, &c.plan.Scenario
	f := &r.Faulty
	shout := func(n uint64, format string, args ...any) {
		if n > 0 {
			r.Faults = append(r.Faults, fmt.Sprintf(format, append([]any{n}, args...)...))
		}
	}
	wills := sum.WillsDue - min(sum.WillsDue, sum.Wills)
	if c.interrupted > 0 {
		c.noteInterruption(sum)
		wills, sum.Late = 0, 0
	}
	lost := f.Lost - min(f.Lost, wills)
	if s.AllowLoss {
		if lost > 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("%d messages were lost, which the scenario allows", lost))
		}
		lost = 0
	}
	if c.interrupted > 0 {
		shout(lost, "LOST %d messages at QoS %d: later ones of their flows came", s.QoS)
	} else {
		shout(lost, "LOST %d messages at QoS %d: not received %v after anything else was", s.QoS, s.Drain)
	}
	shout(wills, "LOST %d wills")
	shout(sum.SessionsLost, "LOST %d sessions")
	shout(f.Duplicates, "%d messages came twice")
	shout(f.OutOfOrder, "%d messages came out of order")
	shout(f.Misrouted, "%d messages came on the wrong topic or to the wrong subscriber")
	shout(f.Corrupt, "%d messages came with another payload or QoS than they were sent with")
	shout(f.Unacknowledged, "%d messages were not acknowledged")
	shout(f.Refused, "%d messages were refused")
	shout(f.Protocol, "%d protocol errors by the broker")
	shout(f.Disconnected, "%d connections ended or refused by the broker")
	shout(sum.Late, "%d messages were due and could not be sent, since the broker took no more")
	if sum.Left != "" {
		r.Faults = append(r.Faults, sum.Left)
	}
	if len(r.Faults) > 0 {
		details = slices.Compact(details)
		r.Faults = append(r.Faults, details[:min(len(details), maxDetails)]...)
	}
	if r.Lag != nil && r.Latency != nil && r.Lag.P99 > r.Latency.P50 {
		r.Notes = append(r.Notes, fmt.Sprintf("the bench itself wrote up to %s late (p99), which the latencies include", short(r.Lag.P99)))
	}
}
