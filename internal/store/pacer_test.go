package store

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// load is publishers that a simulated committer has to do with: some send the
// next message when the last one is acknowledged, and others send by chance, at
// some rate in all.
type load struct {
	waiting int           // publishers that wait for their acknowledgement
	rate    float64       // messages a second of the others
	sync    time.Duration // what a commit takes
	reply   time.Duration // from the acknowledgement to the next message
}

// outcome is what came of a load.
type outcome struct {
	turns, commits float64 // a second
	latency        time.Duration
	worst          time.Duration
}

// simulate lets a load pass through a committer, with a pacer or without one.
func simulate(seed uint64, p *pacer, l load, from, long time.Duration) outcome {
	r := rand.New(rand.NewPCG(seed, 1))
	start := time.Unix(1_800_000_000, 0).Add(from)
	now, end := start, start.Add(long)
	next := end.Add(time.Hour) // of those that send by chance
	again := func(after time.Time) time.Time {
		return after.Add(time.Duration(r.ExpFloat64() / l.rate * float64(time.Second)))
	}
	if l.rate > 0 {
		next = again(now)
	}
	var arrivals []time.Time // of those that wait, in order
	for range l.waiting {
		arrivals = append(arrivals, now)
	}
	var commits int
	var sum, worst time.Duration
	var turns int
	for {
		first := next
		if len(arrivals) > 0 && arrivals[0].Before(first) {
			first = arrivals[0]
		}
		if now.Before(first) {
			now = first
		}
		if !now.Before(end) {
			break
		}
		if p != nil {
			now = now.Add(p.wait(now))
		}
		began := now
		now = now.Add(l.sync/2 + time.Duration(r.Int64N(int64(l.sync))))
		n := 0
		took := func(at time.Time) {
			n++
			sum += now.Sub(at)
			worst = max(worst, now.Sub(at))
		}
		answered := 0
		for len(arrivals) > 0 && !arrivals[0].After(began) {
			took(arrivals[0])
			arrivals = arrivals[1:]
			answered++
		}
		for !next.After(began) {
			took(next)
			next = again(next)
		}
		for range answered {
			arrivals = append(arrivals, now.Add(l.reply/2+time.Duration(r.Int64N(int64(l.reply)))))
		}
		slices.SortFunc(arrivals, time.Time.Compare)
		commits, turns = commits+1, turns+n
		if p != nil {
			p.committed(began, now, n)
		}
	}
	return outcome{
		turns: float64(turns) / long.Seconds(), commits: float64(commits) / long.Seconds(),
		latency: sum / time.Duration(max(turns, 1)), worst: worst,
	}
}

// TestPacer lets loads of all kinds pass: where publishers don't wait there are
// far fewer commits, and none that does is slowed down.
func TestPacer(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const quick, slow = 200 * time.Microsecond, 5 * time.Millisecond
	for name, test := range map[string]struct {
		load
		commits float64 // at most this part of those without a pacer
		turns   float64 // at least this part
	}{
		"3,000 a second":                       {load{rate: 3000, sync: quick}, 0.6, 0.98},
		"10,000 a second":                      {load{rate: 10_000, sync: quick}, 0.5, 0.98},
		"1,000 a second":                       {load{rate: 1000, sync: quick}, 1, 0.97}, // little to win
		"100 a second":                         {load{rate: 100, sync: quick}, 1, 1},
		"3,000 a second on a slow disk":        {load{rate: 3000, sync: slow}, 1.01, 0.98},
		"one waits":                            {load{waiting: 1, sync: quick, reply: 100 * time.Microsecond}, 1, 0.99},
		"two wait":                             {load{waiting: 2, sync: quick, reply: 100 * time.Microsecond}, 1, 0.98},
		"five wait":                            {load{waiting: 5, sync: quick, reply: 100 * time.Microsecond}, 1, 0.98},
		"100 wait":                             {load{waiting: 100, sync: quick, reply: 100 * time.Microsecond}, 1.01, 0.98},
		"one waits on a slow disk":             {load{waiting: 1, sync: slow, reply: 100 * time.Microsecond}, 1, 1},
		"one waits, others send as many":       {load{waiting: 1, rate: 2500, sync: quick, reply: 100 * time.Microsecond}, 1, 0.95},
		"100 wait long for their next message": {load{waiting: 100, sync: quick, reply: 30 * time.Millisecond}, 0.7, 0.95},
	} {
		t.Run(name, func(t *testing.T) {
			if test.reply == 0 {
				test.reply = 1
			}
			long := time.Minute
			if test.waiting == 100 {
				long = 4 * time.Second // many messages
			}
			without := simulate(seed, nil, test.load, 0, long)
			with := simulate(seed, &pacer{}, test.load, 0, long)
			t.Logf("%.0f turns, %.0f commits a second, mean %v; with a pacer %.0f, %.0f, %v, worst %v", without.turns, without.commits, without.latency,
				with.turns, with.commits, with.latency, with.worst)
			if part := with.commits / without.commits; part > test.commits {
				t.Errorf("%.2f of the commits, want %.2f at most", part, test.commits)
			}
			if part := with.turns / without.turns; part < test.turns {
				t.Errorf("%.3f of the turns, want %.2f at least", part, test.turns)
			}
			if late := with.latency - without.latency; late > pace {
				t.Errorf("acknowledgements come %v later", late)
			}
			if late := with.worst - without.worst; late > pace+test.sync {
				t.Errorf("the worst comes %v later", late)
			}
		})
	}
}

// TestPacerChanges changes the load: what was decided for one doesn't hold for
// the next for long.
func TestPacerChanges(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const sync, reply = 200 * time.Microsecond, 100 * time.Microsecond
	many := load{rate: 3000, sync: sync, reply: 1}
	one := load{waiting: 1, sync: sync, reply: reply}
	three := load{waiting: 3, sync: sync, reply: reply}
	for name, after := range map[string]load{"one waits": one, "three wait": three} {
		t.Run(name, func(t *testing.T) {
			p := &pacer{}
			simulate(seed, p, many, 0, time.Minute)
			if !p.paced && p.backoff > 2 {
				t.Errorf("no pace at 3,000 messages a second: %+v", p)
			}
			want := simulate(seed, nil, after, time.Minute, 10*time.Second)
			got := simulate(seed, p, after, time.Minute, 10*time.Second)
			if part := got.turns / want.turns; part < 0.9 {
				t.Errorf("%.2f of the turns in the first ten seconds after", part)
			}
			simulate(seed, p, after, 70*time.Second, 2*time.Minute)
			back := simulate(seed, p, many, 190*time.Second, time.Minute)
			if without := simulate(seed, nil, many, 190*time.Second, time.Minute); back.commits > 0.8*without.commits {
				t.Errorf("%.0f commits a second in the first minute after that, %.0f without a pacer", back.commits, without.commits)
			}
		})
	}
}
