package bench

import (
	"math"
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
	retained           retaining
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
	firstTime, wholeTime, meanwhile               histogram // of retained messages, and of the others while they are read
	out                                           partial
}

// now is the clock that is common to all workers.
func (w *worker) now() time.Duration { return w.offset + time.Since(w.started) }

// stalled reports whether nothing has got on for d. An interrupted run has less
// patience.
func (w *worker) stalled(d time.Duration) bool {
	if w.interrupted > 0 {
		d = min(d, hurry)
	}
	return w.now()-w.progressAt > d
}
