package app

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"midge/internal/broker"
	"midge/internal/settings"
)

// This file keeps the process within limits.memory. A sampler measures what is in
// use and tells the broker how much pressure there is, and how much the broker may
// take on before it is measured again; docs/operations.md has what happens then.
// The budget is also Go's soft limit, so that the garbage collector works harder
// before anybody is refused.

const (
	// sampleEvery is how often memory is measured, and the length of a round of
	// publishers under pressure. sampleSoon is it when half of the budget is used,
	// and sampleQuiet while a quarter is not: a measurement costs 0.2 ms of
	// processor time, and the broker asks for one when it takes on much.
	sampleEvery = 100 * time.Millisecond
	sampleSoon  = 20 * time.Millisecond
	sampleQuiet = time.Second

	// sampleRest is the least time between two measurements, if the broker asks
	// for one.
	sampleRest = 2 * time.Millisecond

	// calmAfter without pressure ends an episode. Each level is logged once in one.
	calmAfter = 5 * time.Second

	// easeBy is how far use must fall below a level before the level is left, in
	// percent of the budget.
	easeBy = 5

	// lastsAfter is how long pressure may last before readers are closed for it,
	// to shedLastingTo percent, and lastsAgain how often. Readers that don't read
	// would keep it up for ever.
	lastsAfter    = 5 * time.Second
	lastsAgain    = time.Second
	shedLastingTo = 70

	// shedTo is what readers are closed for, in percent of the budget.
	shedTo = 90
)

// levels are the percentages of the budget at which pressure begins.
var levels = [...]int64{broker.RefuseConnects: 80, broker.SlowPublishers: 90, broker.CloseReaders: 100}

// pressureAt is the pressure that follows from now when used bytes of the budget
// are in use.
func pressureAt(now broker.Pressure, used, budget int64) broker.Pressure {
	next := broker.NoPressure
	for p := broker.RefuseConnects; p <= broker.CloseReaders; p++ {
		percent := levels[p]
		if p <= now {
			percent -= easeBy
		}
		if used >= budget/100*percent {
			next = p
		}
	}
	return next
}

// presser is what the sampler tells; broker.Broker is one.
type presser interface {
	SetPressure(p broker.Pressure, now broker.Memory)
	Shed(bytes int64)
	Shedding() bool
	MemoryAsked() <-chan struct{}
}

// controller keeps the process within its budget.
type controller struct {
	budget int64
	core   presser
	log    *slog.Logger
	used   func(collect bool) usage // measures, and collects garbage if it must or if that is worth it
	now    func() time.Duration
	shed   bool // readers were closed: what they held is garbage
	last   broker.Pressure
	worst  broker.Pressure // of the episode that is on
	felt   time.Duration   // when there was pressure last
	eased  time.Duration   // when there was none last
}

// usage is how much memory is in use, in bytes.
type usage struct {
	live    int64 // what can't be collected, and what the runtime needs around it
	garbage int64 // what may be, and gaps between objects
}

// run samples until ctx is cancelled.
func (k *controller) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	sampled := k.now() - sampleRest
	for {
		asked := k.core.MemoryAsked()
		if k.last >= broker.SlowPublishers {
			asked = nil // rounds have their time
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-asked:
			select {
			case <-ctx.Done():
				return
			case <-time.After(sampled + sampleRest - k.now()):
			}
		}
		pause := sampleEvery
		switch used := k.sample(); {
		case used > k.budget/2:
			pause = sampleSoon
		case used < k.budget/4:
			pause = sampleQuiet
		}
		sampled = k.now()
		timer.Reset(pause)
	}
}

// sample measures once, tells the broker, and logs each level once an episode.
func (k *controller) sample() (used int64) {
	busy := k.core.Shedding()
	u := k.used(k.shed && !busy)
	k.shed = k.shed && busy
	used = u.live
	p := pressureAt(k.last, used, k.budget)
	k.last = p
	k.core.SetPressure(p, broker.Memory{
		Used: used, Budget: k.budget,
		Slow: k.budget/100*levels[broker.SlowPublishers] - used - u.garbage, Full: k.budget - used - u.garbage,
	})
	switch now := k.now(); {
	case p == broker.NoPressure:
		k.eased = now
	case k.shed: // that is on
	case p == broker.CloseReaders:
		k.core.Shed(used - k.budget/100*shedTo)
		k.shed = true
	case now-k.eased >= lastsAfter: // whoever holds it does not let go
		k.core.Shed(used - k.budget/100*shedLastingTo)
		k.shed = true
		k.eased = now - lastsAfter + lastsAgain
	}
	for k.worst < p {
		k.worst++
		k.log.Warn("memory: "+consequence[k.worst], "used", used, "limit", k.budget)
	}
	if p > broker.NoPressure {
		k.felt = k.now()
	} else if k.worst > p && k.now()-k.felt >= calmAfter {
		k.worst = p
		k.log.Info("memory: there is room again", "used", used, "limit", k.budget)
	}
	return used
}

// consequence is what a level means, for the log.
var consequence = [...]string{
	broker.RefuseConnects: "80 % of limits.memory is used: new clients are refused",
	broker.SlowPublishers: "90 % of limits.memory is used: publishers are slowed down, and readers that are behind get no QoS 0 messages",
	broker.CloseReaders:   "limits.memory is used up: the readers that are behind furthest are closed, and nothing more waits in memory",
}

// gauge measures the memory of the Go runtime, which has all of the broker's.
type gauge struct {
	samples   []metrics.Sample
	budget    int64
	collected time.Time     // when used has collected last
	took      time.Duration // by that
}

func newGauge(budget int64) *gauge {
	g := &gauge{budget: budget}
	for _, name := range []string{
		"/gc/heap/live:bytes", "/memory/classes/heap/objects:bytes", "/memory/classes/heap/unused:bytes", "/memory/classes/heap/stacks:bytes",
		"/memory/classes/metadata/mcache/inuse:bytes", "/memory/classes/metadata/mspan/inuse:bytes",
		"/memory/classes/metadata/other:bytes", "/memory/classes/other:bytes",
	} {
		g.samples = append(g.samples, metrics.Sample{Name: name})
	}
	return g
}

const (
	// collectAfter of the budget (one part in so many) allocated since the last
	// collection are worth another one: what is garbage is known only then.
	// Below half of the budget, collecting is the runtime's business.
	collectAfter = 8

	// collectAfterFull is it when the garbage itself is about to slow publishers.
	collectAfterFull = 32

	// collectAgain is when a collection is worth it although little was
	// allocated: what keeps the pressure up may be gone.
	collectAgain = 500 * time.Millisecond

	// collectShare bounds the time that goes into this, to one part in so many,
	// and collectShareFull does when there is little room.
	collectShare     = 10
	collectShareFull = 3
)

// used is what is in use now. What is live is known as of the last collection.
func (g *gauge) used(collect bool) usage {
	live, objects, gaps, other := g.read()
	if collect || g.worth(live, objects, other) {
		begin := time.Now()
		runtime.GC()
		g.collected = time.Now()
		g.took = g.collected.Sub(begin)
		live, objects, gaps, other = g.read()
	}
	return usage{live + other, max(objects-live, 0) + gaps}
}

// worth reports whether a collection is worth its time.
func (g *gauge) worth(live, objects, other int64) bool {
	since, garbage := time.Since(g.collected), objects-live
	full := objects+other >= g.budget/100*levels[broker.RefuseConnects]
	switch {
	case objects+other < g.budget/2:
		return false
	case full && garbage > g.budget/collectAfterFull && since >= collectShareFull*g.took:
		return true
	case since < collectShare*g.took:
		return false
	}
	pressed := live+other >= g.budget/100*(levels[broker.RefuseConnects]-easeBy)
	return garbage > g.budget/collectAfter || pressed && since > collectAgain
}

func (g *gauge) read() (live, objects, gaps, other int64) {
	metrics.Read(g.samples)
	for _, s := range g.samples[3:] {
		other += int64(s.Value.Uint64())
	}
	first := func(i int) int64 { return int64(g.samples[i].Value.Uint64()) }
	return first(0), first(1), first(2), other
}

// keepBudget keeps to the budget of the configuration until ctx is cancelled.
func keepBudget(ctx context.Context, core *broker.Broker, setting settings.Size, log *slog.Logger) {
	budget := budgetOf(setting)
	if budget == 0 {
		return
	}
	if own := debug.SetMemoryLimit(-1); own > budget { // a lower GOMEMLIMIT is the user's
		debug.SetMemoryLimit(budget)
		defer debug.SetMemoryLimit(own)
	}
	begin := time.Now()
	k := &controller{budget: budget, core: core, log: log, used: newGauge(budget).used, now: func() time.Duration { return time.Since(begin) }}
	k.run(ctx)
}

// budgetOf is the budget in force for a setting; 0 is none.
func budgetOf(setting settings.Size) int64 {
	if setting > 0 {
		return int64(setting)
	}
	return systemMemory(os.DirFS("/")) / 2
}

// systemMemory is the memory that the process can have at most: the machine's,
// or what its control group allows. 0 means that the system does not tell.
func systemMemory(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	if text, err := fs.ReadFile(root, "proc/meminfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
				if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					limit = kib << 10
				}
			}
		}
	}
	if limit == math.MaxInt64 {
		return 0
	}
	return min(limit, groupMemory(root))
}

// groupMemory is the least limit of the process's control group and those that
// it is in, of both versions of control groups.
func groupMemory(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	f, err := root.Open("proc/self/cgroup")
	if err != nil {
		return limit
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// hierarchy:controllers:path, see cgroups(7)
		part := strings.SplitN(lines.Text(), ":", 3)
		if len(part) < 3 {
			continue
		}
		base, name := "sys/fs/cgroup", "memory.max"
		switch {
		case part[0] == "0" && part[1] == "":
		case strings.Contains(","+part[1]+",", ",memory,"):
			base, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for dir := path.Clean("/" + part[2]); ; dir = path.Dir(dir) {
			text, err := fs.ReadFile(root, path.Join(base, dir, name))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && n > 0 {
				limit = min(limit, n) // "max" is no number
			}
			if dir == "/" {
				break
			}
		}
	}
	return limit
}

// describeBudget is for the banner.
func describeBudget(setting settings.Size) string {
	budget := budgetOf(setting)
	switch {
	case budget == 0:
		return "no limit: the system does not tell how much there is"
	case setting == 0:
		return fmt.Sprintf("%s (half of what this machine or its control group has)", settings.Size(budget>>20<<20))
	}
	return setting.String()
}
