package bench

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"time"

	"midge/internal/packet"
	"midge/internal/proc"
)

func run(ctx context.Context, target Target, s Scenario, o Options) (*Result, error) {
	c, err := prepare(target, s, o)
	if err != nil {
		return nil, err
	}
	working, cancel := context.WithCancel(context.WithoutCancel(ctx)) // an interrupted worker still has its result to tell
	defer cancel()
	if err := c.awaitRest(ctx); err != nil {
		return nil, fmt.Errorf("bench %s: %w", target.Address, err)
	}
	err = c.start(ctx, working)
	if err == nil {
		err = c.steer(ctx)
	}
	cancel()
	for _, m := range c.members {
		close(m.orders)
	}
	for _, m := range c.members {
		for range m.reports { // a worker that is stopped may still have something to say
		}
		err = cmp.Or(err, m.stop())
	}
	if err != nil {
		return nil, fmt.Errorf("bench %s: %w", target.Address, err)
	}
	return c.result, nil
}

// prepare checks everything that can be known before the start.
func prepare(target Target, s Scenario, o Options) (*coordinator, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s = s.withDefaults()
	version, err := s.version(target.Version)
	if err != nil {
		return nil, err
	}
	if s.shared() && version != packet.V5 {
		return nil, errors.New("shared subscriptions need MQTT 5.0")
	}
	if s.Restart != RestartNone && target.Restart == nil {
		return nil, errors.New("restart: only 'midge bench compare' can start the broker again")
	}
	d, err := parseAddress(target.Address)
	if err != nil {
		return nil, err
	}
	overTLS := d.transport == "tls" || d.transport == "wss"
	if s.NeedsTLS && !overTLS {
		return nil, fmt.Errorf("%s: the address %q has no TLS, as mqtts://%s has", s.Name, target.Address, d.host)
	}
	peer, err := resolve(d.host, d.port)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", target.Address, err)
	}
	target.Name = cmp.Or(target.Name, target.Address)
	p := &plan{
		Scenario: s, Run: runID(), Epoch: time.Now(), Version: version, Username: target.Username, Password: target.Password,
		Peer: peer, TLSOn: overTLS, TLS: target.TLS, Host: d.host, WebSocket: d.webSocket, Discard: o.Discard,
		network: o.network,
	}
	c := &coordinator{target: target, options: o, plan: p, started: p.Epoch, interruption: make(chan struct{})}
	var notes [2]string
	n := s.connections()
	if p.Procs, notes[0], err = processes(o.Procs, n); err != nil {
		return nil, err
	}
	if p.Procs > 1 && len(o.Worker) == 0 {
		return nil, fmt.Errorf("%d worker processes are needed, and there is no command for them", p.Procs)
	}
	if p.Procs > 1 && s.Retained > 0 {
		return nil, errors.New("retained: one worker process only, which knows when messages are read; take fewer clients, or --procs 1")
	}
	if err := closedLoopFits(p); err != nil {
		return nil, err
	}
	if p.Sources, notes[1], err = sources(o.Sources, peer.Addr(), max(n, s.made())); err != nil {
		return nil, err
	}
	c.result = &Result{
		Scenario: s, Broker: target.Name, Address: target.Address, MQTT: versionName(version), Transport: d.transport,
		Started: p.Epoch.UTC(), Command: o.Command,
		Environment: Environment{
			OS: runtime.GOOS, Arch: runtime.GOARCH, Kernel: proc.Kernel(), CPU: proc.CPUModel(), Cores: runtime.NumCPU(),
			Go: runtime.Version(), Build: o.Build, Procs: p.Procs,
		},
	}
	for _, note := range notes {
		if note != "" {
			c.note(note)
		}
	}
	found := false
	if c.target.PID == 0 {
		c.target.PID, found = proc.Listener(peer)
	}
	if err := c.openBroker(n); err != nil && !found {
		return nil, err
	}
	return c, nil
}

func (c *coordinator) openBroker(connections int) error {
	switch {
	case c.target.PID == 0:
		return nil
	case c.target.PID < 0:
		return fmt.Errorf("--pid %d: no process has such a number", c.target.PID)
	}
	var err error
	if c.broker, err = openMeter(c.target.PID); err != nil {
		return err
	}
	c.result.BrokerUse = &Usage{}
	return checkBroker(c.target.PID, connections)
}

// closedLoopFits makes sure that at QoS 0 each publisher can see its window
// move: some subscriber of its flows must be in the same worker.
func closedLoopFits(p *plan) error {
	s := &p.Scenario
	if s.Window == 0 || s.QoS > 0 || p.Procs == 1 {
		return nil
	}
	for proc := range p.Procs {
		l := newLayout(p.clone(proc))
		seen := make([]bool, l.flows)
		for n := s.SlowReaders; n < s.Subscribers; n++ {
			if l.hasSubscriber(n) {
				l.wanted(n, func(f int) { seen[f] = true })
			}
		}
		for f := range seen {
			if l.mine(l.publisherOf(f)) && !seen[f] {
				return fmt.Errorf("a closed loop at QoS 0 over %d processes needs a subscriber for each publisher in its process: take a rate, QoS 1, or --procs 1", p.Procs)
			}
		}
	}
	return nil
}

func versionName(v packet.Version) string {
	if v == packet.V5 {
		return "5.0"
	}
	return "3.1.1"
}

func runID() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// start starts the workers, which end with working. ctx is that of the run.
func (c *coordinator) start(ctx, working context.Context) error {
	c.latest = make([]tick, c.plan.Procs)
	for proc := range c.plan.Procs {
		if ctx.Err() != nil {
			return errors.New("interrupted before any client was connected")
		}
		var m *member
		var err error
		if c.plan.Procs == 1 {
			m, err = localMember(working, c.plan.clone(proc))
		} else {
			m, err = remoteMember(working, c.options.Worker, c.plan.clone(proc))
		}
		if err != nil {
			return err
		}
		c.members = append(c.members, m)
	}
	return nil
}

// localMember runs a worker on a goroutine of this process.
func localMember(ctx context.Context, p *plan) (*member, error) {
	m := &member{orders: make(chan order, allOrders), reports: make(chan report, 4)}
	w, err := newWorker(p, m.orders, m.reports)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(m.reports)
		w.work(ctx)
	}()
	m.stop = func() error { <-done; return nil }
	return m, nil
}

// steer takes the workers through the phases of a run.
func (c *coordinator) steer(ctx context.Context) error {
	begun := time.Now()
	if err := c.each(ctx, func(i int, r report) bool {
		if r.Connected == nil {
			return false
		}
		c.result.Connects.Clients += r.Connected.Clients
		c.result.Environment.Engine = r.Connected.Engine
		return true
	}); err != nil {
		return err
	}
	if err := c.connected(ctx, time.Since(begun)); err != nil {
		return err
	}
	if c.plan.Scenario.Retained > 0 {
		if err := c.laid(ctx); err != nil {
			return err
		}
	}
	start := c.soon()
	for _, m := range c.members {
		m.orders <- order{Start: start}
	}
	c.phase = sending
	sent := make([]uint32, c.plan.Scenario.flows())
	stopMetering := c.meterBroker(start)
	err := c.each(ctx, func(_ int, r report) bool {
		if r.Sent == nil {
			return false
		}
		for f, n := range r.Sent {
			sent[f] += n
		}
		return true
	})
	stopMetering()
	if err != nil {
		return err
	}
	c.phase = draining
	defer c.resume.stop()
	if c.plan.Scenario.Offline && c.interrupted == 0 {
		if err := c.away(ctx, sent); err != nil {
			return err
		}
	}
	for _, m := range c.members {
		m.orders <- order{Sent: sent}
	}
	finals := make([]*partial, len(c.members))
	if err := c.each(ctx, func(i int, r report) bool {
		finals[i] = r.Final
		return r.Final != nil
	}); err != nil {
		return err
	}
	switch {
	case c.broker == nil:
	case c.resume.end != nil:
		c.resume.stop()
		c.resume.cpu = time.Duration(c.broker.read().CPUSeconds * float64(time.Second))
	case c.plan.Scenario.Messages > 0 && (c.interrupted == 0 || c.interrupted > start):
		c.brokerUsed()
	}
	return c.merge(finals, start)
}

// connected notes what connecting took, and lets the broker come to rest.
func (c *coordinator) connected(ctx context.Context, took time.Duration) error {
	r := c.result
	r.Connects.Seconds = took.Seconds()
	if took > 0 {
		r.Connects.PerSecond = float64(r.Connects.Clients) / took.Seconds()
	}
	if c.broker != nil {
		r.BrokerUse.ConnectMicros = c.broker.read().CPUSeconds * 1e6 / float64(max(1, r.Connects.Clients))
	}
	c.rest(ctx)
	if r.Connects.Clients == 0 && c.interrupted > 0 && c.plan.Scenario.Churn == 0 {
		return fmt.Errorf("interrupted after %v, before any client was connected", tenths(c.interrupted))
	}
	if c.broker != nil && r.Connects.Clients > 0 && c.interrupted == 0 {
		rss, err := proc.RSS(c.target.PID)
		if err != nil {
			return err
		}
		private, err := privateMemory(c.target.PID)
		if err != nil {
			return err
		}
		c.rss = rss
		r.BrokerUse.RSSPerConn = float64(max(0, private-c.empty)) / float64(r.Connects.Clients)
	}
	return nil
}

// laid waits until retained messages are laid down, and notes what they take.
func (c *coordinator) laid(ctx context.Context) error {
	if err := c.each(ctx, func(_ int, r report) bool { return r.Laid }); err != nil {
		return err
	}
	c.result.Retained = &Retained{Messages: c.plan.Scenario.Retained}
	c.rest(ctx)
	if c.broker == nil || c.interrupted > 0 {
		return nil
	}
	rss, err := proc.RSS(c.target.PID)
	c.result.Retained.RSSPerMsg = float64(max(0, rss-c.rss)) / float64(c.plan.Scenario.Retained)
	return err
}

// meterBroker measures the broker while the workers measure: from the end of
// the warm-up for the duration, or, with a number of messages, from the start
// until steer reads the meter.
func (c *coordinator) meterBroker(start time.Duration) (stop func()) {
	if c.broker == nil {
		return func() {}
	}
	s := c.plan.Scenario
	from := c.plan.Epoch.Add(start)
	if s.Messages == 0 {
		from = from.Add(time.Duration(s.WarmUp))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-time.After(time.Until(from)):
		case <-c.interruption:
			return
		}
		_ = c.broker.restart() // a broker that has ended is noticed at its connections
		if s.Messages > 0 {
			return
		}
		select {
		case <-time.After(time.Until(from.Add(time.Duration(s.Duration)))):
		case <-c.interruption:
			<-time.After(time.Until(c.plan.Epoch.Add(c.interrupted)))
		}
		c.brokerUsed()
	}()
	return func() { <-done }
}
