package bench

import (
	"context"
	"errors"
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
	// hurry is how long an interrupted run waits for anything.
	hurry = 500 * time.Millisecond
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
	interrupted             time.Duration // when the run ends early; 0 means not
	next                    *order        // how to go on, once the coordinator has said so
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
	toSend             uint64 // see planned
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
	w := &worker{
		layout: newLayout(p), orders: orders, reports: reports, started: time.Now(), phase: "connecting",
		latency: newHistogram(), ackTime: newHistogram(), lag: newHistogram(), connectTime: newHistogram(), churnTime: newHistogram(),
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

// now is the clock that is common to all workers.
func (w *worker) now() time.Duration { return w.offset + time.Since(w.started) }

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

// stalled reports whether nothing has got on for d. An interrupted run has less
// patience.
func (w *worker) stalled(d time.Duration) bool {
	if w.interrupted > 0 {
		d = min(d, hurry)
	}
	return w.now()-w.progressAt > d
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
