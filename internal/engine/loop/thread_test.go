package loop

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/engine"
)

// TestTokenUnderWay proves that a thread leaves a shard alone until the note
// with its token has arrived, and that nothing is forgotten meanwhile. No thread
// runs here: the test takes each step itself.
func TestTokenUnderWay(t *testing.T) {
	w := newNetwork(2, 2, nil)
	first, other, s := w.pollers[0].thread, w.pollers[1].thread, w.shards[0]
	for _, s := range w.shards {
		first.hold(s.Shard)
	}
	isFree := func(step string) {
		t.Helper()
		if first.Holds(s.Shard) || other.Holds(s.Shard) || slices.Contains(first.run, s.Shard) || slices.Contains(other.run, s.Shard) {
			t.Fatalf("%s: somebody uses the shard whose token is under way", step)
		}
	}
	read := func(to *Thread) {
		t.Helper()
		to.takeNotes()
		if !to.Holds(s.Shard) || !slices.Equal(to.run, []*Shard{s.Shard}) {
			t.Fatalf("the token has arrived, but the shard doesn't get its turn: %v", to.run)
		}
		to.runTurns()
		if s.queued || s.signalled.Load() {
			t.Fatal("the shard's turn is not over")
		}
	}

	// A wake-up overtakes the token.
	first.give(s.Shard, other)
	token := other.inbox.take()
	w.loop.Wake(0)
	other.takeNotes()
	isFree("woken")
	other.push(token[0])
	read(other)

	// A call is posted while the token is on its way back.
	other.give(s.Shard, first)
	called := 0
	w.loop.Post(0, func() { called++ })
	isFree("posted")
	read(first)
	if called != 1 {
		t.Errorf("the posted call is called %d times", called)
	}
}

// TestNoteOfGivenShard proves that a thread passes on what it is asked to do for a
// shard that it has given away: whoever woke the shard saw the thread as its owner.
func TestNoteOfGivenShard(t *testing.T) {
	w := newNetwork(2, 1, nil)
	first, other, s := w.pollers[0].thread, w.pollers[1].thread, w.shards[0]
	first.hold(s.Shard)
	first.give(s.Shard, other)
	other.takeNotes()
	other.runTurns()
	before := s.turns.Load()
	s.signalled.Store(true)
	first.push(note{s: s.Shard}) // comes late
	first.takeNotes()
	first.runTurns()
	if n := s.turns.Load(); n != before {
		t.Fatalf("a thread runs a shard that it has given away: %d turns, want %d", n, before)
	}
	other.takeNotes()
	other.runTurns()
	if n := s.turns.Load(); n != before+1 {
		t.Errorf("the wake-up is lost: %d turns, want %d", n, before+1)
	}
}

// TestGivenShardsLeaveTheQueue proves that a thread does not run shards that waited
// for their turn when it gave them away, and that the new owner does.
func TestGivenShardsLeaveTheQueue(t *testing.T) {
	for _, tt := range []struct {
		name string
		give func(from, to *Thread)
	}{
		{"spread", func(from, _ *Thread) { from.spread(&attempt{cores: 1}) }},
		{"return", func(from, _ *Thread) { from.returnShards() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newNetwork(2, 4, nil)
			from, to := w.pollers[0].thread, w.pollers[1].thread
			if tt.name == "return" {
				from, to = to, from
			} else {
				to.idle.Store(true)
			}
			for _, s := range w.shards {
				s.owner.Store(from)
				from.hold(s.Shard)
				s.Schedule()
			}
			tt.give(from, to)
			to.takeNotes()
			given := 0
			for i, s := range w.shards {
				if from.Holds(s.Shard) == slices.Contains(to.run, s.Shard) {
					t.Errorf("shard %d: who has it now is not the only one to run it", i)
				}
				if from.Holds(s.Shard) != slices.Contains(from.run, s.Shard) {
					t.Errorf("shard %d: who gave it away is to run it", i)
				}
				if to.Holds(s.Shard) {
					given++
				}
			}
			if given == 0 {
				t.Error("no shard was given away: the test proves nothing")
			}
		})
	}
}

// TestBeforeSleep proves that a thread sees what comes after it looked for work and
// before it counts as asleep, when nobody would wake it: a note, and the end.
func TestBeforeSleep(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetwork(1, 1, nil)
		var called atomic.Bool
		idle := 0
		w.pollers[0].idle = func() {
			if idle++; idle == 2 { // the shard's first turn is over, and nothing is due
				w.loop.Post(0, func() { called.Store(true) })
			}
		}
		w.run(func() {
			if !called.Load() {
				t.Error("the thread sleeps although a call is posted")
			}
		})
	})
	bubble(t, func(t *testing.T) {
		w := newNetwork(1, 1, nil)
		thread := w.pollers[0].thread
		w.pollers[0].idle = func() { w.loop.stopping.Store(true) } // and the wake-up is gone
		if until, ok := thread.Due(); !ok || until > thread.End() {
			t.Errorf("Due returns %v, %v: the thread would wait for ever", until, ok)
		}
		if _, ok := thread.Due(); ok {
			t.Error("the thread goes on after the end")
		}
	})
}

// TestTurns proves that a shard gets a turn when it is woken, when it has input, when
// it is due, when it is posted to, and at no other time.
func TestTurns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var next atomic.Int64
		next.Store(int64(engine.Never))
		w := newNetwork(2, 2, func(*memoryShard, time.Duration) time.Duration { return time.Duration(next.Load()) })
		w.run(func() {
			s := w.shards[1]
			turns := func(want int64, cause string) {
				t.Helper()
				synctest.Wait()
				if n := s.turns.Load(); n != want {
					t.Fatalf("%s: %d turns, want %d", cause, n, want)
				}
			}
			turns(1, "at the start")
			time.Sleep(time.Hour)
			turns(1, "without a cause")
			w.loop.Wake(1)
			turns(2, "woken")
			w.arrive(1, 10)
			turns(3, "input")
			w.loop.Post(1, func() { next.Store(int64(w.loop.Now() + time.Minute)) })
			turns(4, "posted")
			time.Sleep(time.Minute - 1)
			turns(4, "before it is due")
			next.Store(int64(engine.Never))
			time.Sleep(time.Nanosecond)
			turns(5, "due")
			if read, other := s.read.Load(), w.shards[0].turns.Load(); read != 10 || other != 1 {
				t.Errorf("%d bytes read, the other shard had %d turns", read, other)
			}
		})
	})
}

// TestNothingIsLost posts to shards, wakes them and gives them input from many
// goroutines, while tokens travel. No two threads ever run a shard; each call is called, in
// order; each wake-up is followed by a turn; all input is read.
func TestNothingIsLost(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	bubble(t, func(t *testing.T) {
		const threads, shards, sources, rounds = 3, 5, 8, 500
		message := make([]byte, 10)
		mail := make([]struct { // of a shard
			sync.Mutex
			n, seen int
		}, shards)
		w := newNetwork(threads, shards, func(s *memoryShard, _ time.Duration) time.Duration {
			m := &mail[s.Index()]
			m.Lock()
			m.seen = m.n
			m.Unlock()
			if s.turns.Load()%7 == 0 {
				s.fanOut(fanOut, message) // others go to other threads
			}
			return engine.Never
		})
		w.run(func() {
			var arrived atomic.Int64
			var running sync.WaitGroup
			for source := range sources {
				running.Go(func() {
					r := rand.New(rand.NewPCG(seed, uint64(source)))
					var called [shards]atomic.Int64
					var posted [shards]int64
					for range rounds {
						shard := r.IntN(shards)
						switch r.IntN(3) {
						case 0:
							number := posted[shard]
							posted[shard]++
							w.loop.Post(shard, func() {
								if n := called[shard].Add(1) - 1; n != number {
									t.Errorf("call %d of source %d comes as number %d", number, source, n)
								}
							})
						case 1:
							m := &mail[shard]
							m.Lock()
							m.n++
							m.Unlock()
							w.loop.Wake(shard)
						case 2:
							arrived.Add(1)
							w.arrive(shard, 1)
						}
						if r.IntN(4) == 0 {
							time.Sleep(time.Duration(r.IntN(int(2 * time.Millisecond))))
						}
					}
					time.Sleep(time.Second)
					for shard := range shards {
						if n := called[shard].Load(); n != posted[shard] {
							t.Errorf("source %d: %d calls of shard %d, posted %d", source, n, shard, posted[shard])
						}
					}
				})
			}
			running.Wait()
			synctest.Wait()
			var read int64
			for i, s := range w.shards {
				if m := &mail[i]; m.seen != m.n {
					t.Errorf("shard %d was not run after the last wake-up", i)
				}
				read += s.read.Load()
			}
			if n := w.loop.Counters().BytesIn.Load(); read != arrived.Load() || int64(n) != read {
				t.Errorf("%d bytes read, %d counted, %d have arrived", read, n, arrived.Load())
			}
			if n := w.away(); n > 0 {
				t.Errorf("%d shards are not back", n)
			}
			if w.loop.Counters().Handovers.Load() == 0 {
				t.Error("no token travelled: the test proves nothing")
			}
		})
	})
}

// TestFanOut proves that shards which wait for their turn go to idle threads if
// one has much to send, and that they return.
func TestFanOut(t *testing.T) {
	for _, tt := range []struct {
		name            string
		threads, output int
		away            int // shards that leave the first thread
	}{
		{"two threads", 2, fanOut, 2},
		{"three threads", 3, fanOut, 2},
		{"one thread", 1, fanOut, 0},
		{"a small one", 2, fanOut - 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				send := false // written by the first thread before others run
				w := newNetwork(tt.threads, 4, func(s *memoryShard, _ time.Duration) time.Duration {
					if send {
						s.fanOut(tt.output, []byte{1})
					}
					return engine.Never
				})
				w.run(func() {
					w.loop.Post(0, func() { // the others wait when its turn ends
						send = true
						for i := range w.shards[1:] {
							w.shards[i+1].Schedule()
						}
					})
					synctest.Wait()
					if n := w.away(); n != tt.away {
						t.Errorf("%d shards left, want %d", n, tt.away)
					}
					for i, s := range w.shards {
						if n := s.turns.Load(); n != 2 {
							t.Errorf("shard %d had %d turns, want 2", i, n)
						}
					}
					var sent int64
					for i, p := range w.pollers {
						n := p.flushed.Load()
						sent += n
						if i > 0 && tt.away > 0 && n == 0 {
							t.Errorf("thread %d sent nothing", i)
						}
					}
					if want := int64(4 * tt.output); sent != want {
						t.Errorf("%d messages sent, want %d", sent, want)
					}
					time.Sleep(fanOutLoan)
					synctest.Wait()
					if n := w.away(); n > 0 {
						t.Errorf("%d shards are not back after %v", n, fanOutLoan)
					}
					if n := w.loop.Counters().ThreadsBusy.Load(); n != 1 {
						t.Errorf("%d threads are busy", n)
					}
				})
			})
		})
	}
}

// TestSaturation proves that a saturated thread shares its shards with others
// while there are idle cores and it pays, and that they return. Each turn works for a
// millisecond.
func TestSaturation(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cores  int  // that are idle
		shared bool // what the shards need: two threads do no more than one
		ends   bool // the load, after 300 ms
		back   time.Duration
	}{
		{name: "idle core", cores: 1, back: minTerm},
		{name: "two idle cores", cores: 2, back: minTerm},
		{name: "no idle core"},
		{name: "it does not pay", cores: 1, shared: true, back: trial},
		{name: "the load ends", cores: 1, ends: true, back: 2 * windowTime},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var load atomic.Bool
				load.Store(true)
				var w *network
				w = newNetwork(3, 6, func(s *memoryShard, now time.Duration) time.Duration {
					if !load.Load() {
						return engine.Never
					}
					work := time.Millisecond
					if tt.shared {
						work *= time.Duration(w.loop.Counters().ThreadsBusy.Load())
					}
					time.Sleep(work)
					s.poller.thread.Tally().BytesIn += 100
					return now
				})
				first := w.pollers[0].thread
				real := first.balance.sample
				first.balance.sample = func() sample {
					x := real()
					x.idle = time.Duration(tt.cores) * x.at
					return x
				}
				busy := func() int { return int(w.loop.Counters().ThreadsBusy.Load()) }
				w.run(func() {
					left := time.Duration(0)
					for left == 0 && w.loop.Now() < time.Second {
						time.Sleep(time.Millisecond)
						synctest.Wait()
						if busy() > 1 {
							left = w.loop.Now()
						}
					}
					if (left > 0) != (tt.cores > 0) {
						t.Fatalf("shards left after %v", left)
					}
					if left == 0 {
						return
					}
					if left > 4*windowTime {
						t.Errorf("shards left after %v", left)
					}
					if want := 1 + tt.cores; busy() != want {
						t.Errorf("%d threads are busy, want %d", busy(), want)
					}
					load.Store(!tt.ends)
					handovers := w.loop.Counters().Handovers.Load()
					for w.loop.Counters().Handovers.Load() == handovers && w.loop.Now() < left+2*time.Second {
						time.Sleep(time.Millisecond)
					}
					// A window ends with a turn, in which each shard of the thread works.
					if took := w.loop.Now() - left; took > tt.back+windowTime || took < min(tt.back, fanOutLoan) {
						t.Errorf("the first shards are back after %v, want %v", took, tt.back)
					}
					load.Store(false)
					time.Sleep(maxTerm)
				})
			})
		})
	}
}

// TestStop proves that calls which are posted around the end are called, also
// those that such calls post, and that nothing is called twice.
func TestStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetwork(2, 3, nil)
		called := map[string]int{}
		w.run(func() {})
		w.loop.Post(1, func() {
			called["late"]++
			w.loop.Post(2, func() { called["from a late one"]++ })
		})
		for _, what := range []string{"late", "from a late one"} {
			if called[what] != 1 {
				t.Errorf("%s: called %d times", what, called[what])
			}
		}
		for _, s := range w.shards {
			if !w.pollers[0].thread.Holds(s.Shard) {
				t.Errorf("the first thread doesn't hold shard %d", s.Index())
			}
		}
	})
}

// bare is a poller and a shard that do nothing, so that what remains is the loop.
type bare struct{ shard *Shard }

func (*bare) Run()                                            {}
func (*bare) Hold(int)                                        {}
func (*bare) Release(int)                                     {}
func (*bare) Idle() time.Duration                             { return engine.Never }
func (*bare) Wake()                                           {}
func (b *bare) Receive()                                      { b.shard.Schedule() }
func (*bare) Flush()                                          {}
func (*bare) Measured(_, _ time.Duration) (cpu time.Duration) { return 0 }
func (*bare) Turn(time.Duration) (next time.Duration)         { return engine.Never }
func (*bare) Output() int                                     { return 0 }

// newBare returns a loop, and a thread of it that holds eight shards.
func newBare() (*Loop, *Thread) {
	l, p := New(), &bare{}
	t := l.AddThread(p)
	for range 8 {
		p.shard = l.AddShard(p)
		t.hold(p.shard)
	}
	return l, t
}

// BenchmarkTurn is what a loop adds to a turn with input for one of eight shards.
func BenchmarkTurn(b *testing.B) {
	_, t := newBare()
	b.ReportAllocs()
	for b.Loop() {
		t.Due()
		t.Turn()
	}
}

// BenchmarkWake is a wake-up by another shard of the same thread, and the turn.
func BenchmarkWake(b *testing.B) {
	l, t := newBare()
	b.ReportAllocs()
	for b.Loop() {
		l.Wake(0)
		t.takeNotes()
		t.runTurns()
	}
}
