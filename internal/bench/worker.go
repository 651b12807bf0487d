package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"midge/internal/bench/loop"
	"midge/internal/packet"
)

const (
	// connectBatch keeps the connections that a broker has not accepted yet
	// below the backlog of 100 that Mosquitto asks for.
	connectBatch = 50
	// connectLimit bounds the time in which no client gets any further.
	connectLimit = 20 * time.Second
	// turnLimit bounds a turn in which nothing happens.
	turnLimit = 10 * time.Millisecond
	// quiet is how long a worker listens for repetitions after everything has
	// arrived.
	quiet = 100 * time.Millisecond
	// tickEvery is how often a worker reports its progress.
	tickEvery = 500 * time.Millisecond
	// maxTrackers bounds the memory for following the order at each member of
	// a shared subscription, 16 bytes each.
	maxTrackers = 1 << 22
	// maxLasts bounds the table of last receipts.
	maxLasts = 1 << 20

	never = time.Duration(math.MaxInt64)
)

// worker makes a part of the load. All of it belongs to the goroutine that
// runs work.
type worker struct {
	layout
	loop    loop.Loop
	orders  <-chan order
	reports chan<- report

	started time.Time     // on this process's clock
	offset  time.Duration // from the common clock's zero to started

	clients    []client
	freeComers []*client
	flow       []flow
	sends      []int32 // flows whose publisher is here
	tracker    []tracker
	seen       []bitset // by flow, of a shared subscription
	payload    []byte
	in         packet.Publish // decoded last
	ack        packet.Ack     // decoded last

	// Phases, on the clock.
	begin, measureFrom, end time.Duration
	phase                   string
	publishing              bool
	connectedAll            bool
	leaving                 bool // what still arrives is of no interest
	cleaning                bool // sessions are being removed

	// The open loop's place in its schedule.
	cursor int
	round  uint32

	blocked, unblocked []*client
	inflight           int
	sent, received     uint64
	readyCount         int
	lostClients        int
	returnedCount      int
	resumedAt          time.Duration
	pinged             int64
	fatal              error

	progress   uint64 // rises with everything that gets on
	seenAt     uint64 // progress at progressAt
	progressAt time.Duration
	nextTick   time.Duration
	usage      meter
	metered    int // 0: before measuring, 1: on, 2: done

	lasts                                         []int64
	latency, ackTime, lag, connectTime, churnTime histogram
	out                                           partial
}

func newWorker(p *plan, orders <-chan order, reports chan<- report) (*worker, error) {
	w := &worker{layout: newLayout(p), orders: orders, reports: reports, started: time.Now(), phase: "connecting",
		latency: newHistogram(), ackTime: newHistogram(), lag: newHistogram(), connectTime: newHistogram(), churnTime: newHistogram()}
	w.offset = w.started.Sub(p.Epoch)
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

// now is the clock that is common to all workers.
func (w *worker) now() time.Duration { return w.offset + time.Since(w.started) }

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
	w.clients = all // they have their place from here on
	byPublisher := map[int]*client{}
	for i := range w.clients {
		c := &w.clients[i]
		c.conn.Index = i
		switch {
		case c.role == publisher:
			byPublisher[c.n] = c
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
	start, err := w.await(ctx)
	if err != nil {
		return err
	}
	w.schedule(start.Start)
	if err := w.publishAll(ctx); err != nil {
		return err
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
	return w.leave(ctx)
}

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

// stalled tells that nothing has got on for d.
func (w *worker) stalled(d time.Duration) bool { return w.now()-w.progressAt > d }

// await turns until the coordinator says how to go on.
func (w *worker) await(ctx context.Context) (order, error) {
	for {
		select {
		case o, ok := <-w.orders:
			if !ok {
				return o, errors.New("the coordinator has ended")
			}
			return o, nil
		default:
		}
		if err := w.turn(ctx, never); err != nil {
			return order{}, err
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
	if w.s.Offline {
		for i := range w.clients {
			if w.clients[i].role == subscriber {
				w.disconnect(&w.clients[i])
			}
		}
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
	for done := 0; done < len(list); done = w.readyCount - before {
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
		if w.stalled(connectLimit) {
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

func (w *worker) dial(c *client, due time.Duration) {
	c.stage, c.due = dialing, due
	w.loop.Dial(&c.conn)
}

// schedule sets the times of the run.
func (w *worker) schedule(start time.Duration) {
	w.begin = start
	w.measureFrom = start + time.Duration(w.s.WarmUp)
	w.end = w.measureFrom + time.Duration(w.s.Duration)
	if w.s.Messages > 0 {
		w.measureFrom, w.end = start, never
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
	planned := w.planned()
	if w.s.Rate == 0 {
		for _, f := range w.sends {
			w.pump(int(f), w.now(), false)
		}
	}
	for w.sent < planned || w.now() < w.end && w.s.Messages == 0 {
		now := w.now()
		next := w.comeAndGo(now)
		if w.s.Rate > 0 {
			next = min(next, w.sendDue(now))
		}
		if now < w.end {
			next = min(next, w.end)
		}
		if err := w.turn(ctx, next); err != nil {
			return err
		}
		if w.now() >= w.end && w.s.Rate == 0 || w.hopeless(planned) {
			break
		}
	}
	w.publishing = false
	if planned != math.MaxUint64 {
		w.out.Late = planned - min(planned, w.sent)
	}
	return nil
}

// hopeless tells that what is left to send will not be.
func (w *worker) hopeless(planned uint64) bool {
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
	return w.sent < planned && w.now() >= scheduled && w.stalled(time.Duration(w.s.Drain))
}

func (w *worker) comers() int {
	if w.s.Churn == 0 {
		return 0
	}
	return churnRoom(w.s.Churn / float64(w.Procs))
}

func (w *worker) sentTable() []uint32 {
	table := make([]uint32, w.flows)
	for _, f := range w.sends {
		table[f] = w.flow[f].sent
	}
	return table
}
