package loop

import (
	"testing"
	"time"
)

// windows feeds a balance with windows of the first thread that are all alike, and
// notes after which of them it wanted an attempt and a recall. Each attempt is made.
type windows struct {
	balance
	end      time.Duration
	bytes    uint64 // moved so far
	idle     time.Duration
	rate     uint64 // bytes a window
	cores    int    // that are idle
	tries    []time.Duration
	recalls  []time.Duration
	terms    []time.Duration
	attempts []*attempt
}

func newWindows() *windows {
	w := &windows{}
	w.sample = func() sample { return sample{w.end, w.bytes, w.idle} }
	return w
}

// pass passes windows until the given time.
func (w *windows) pass(until, worked, cpu time.Duration, shards int) {
	for w.end < until {
		w.end += windowTime
		w.bytes += w.rate
		w.idle += windowTime * time.Duration(w.cores)
		try, recall := w.measured(w.end, worked, windowTime, cpu, shards)
		if recall != nil {
			w.recalls = append(w.recalls, w.end)
		}
		if try != nil && try.cores > 0 {
			w.tries = append(w.tries, w.end)
			w.attempts = append(w.attempts, try)
			w.terms = append(w.terms, w.begin(try, w.end)-w.end)
		}
	}
}

// TestSpread proves when the first thread wants other threads to take shards.
func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		name        string
		worked, cpu time.Duration // of windowTime
		cores       int
		shards      int
		want        bool
	}{
		{"saturated", windowTime, windowTime, 1, 8, true},
		{"hardly saturated", windowTime * 95 / 100, windowTime * 90 / 100, 1, 8, true},
		{"it waits now and then", windowTime * 94 / 100, windowTime * 90 / 100, 1, 8, false},
		{"others have the processor", windowTime, windowTime * 89 / 100, 1, 8, false},
		{"all cores are at work", windowTime, windowTime, 0, 8, false},
		{"one shard", windowTime, windowTime, 1, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWindows()
			w.cores = tt.cores
			w.pass(500*time.Millisecond, tt.worked, tt.cpu, tt.shards)
			if (len(w.tries) > 0) != tt.want {
				t.Fatalf("attempts after %v", w.tries)
			}
			if tt.want && w.tries[0] != 3*windowTime {
				t.Errorf("first attempt after %v, want three windows", w.tries[0])
			}
			if tt.want && w.attempts[0].cores != tt.cores {
				t.Errorf("attempt with %d threads, want %d", w.attempts[0].cores, tt.cores)
			}
		})
	}
}

// TestSpreadPays proves that an attempt is recalled if it does not pay, and that
// the next one waits longer, up to maxTerm. A while with little work begins anew.
func TestSpreadPays(t *testing.T) {
	w := newWindows()
	w.cores, w.rate = 2, 1000
	w.pass(5*time.Minute, windowTime, windowTime, 8)
	want := minTerm
	for i, term := range w.terms {
		if term != want {
			t.Errorf("term %d is %v, want %v", i, term, want)
		}
		want = min(2*want, maxTerm)
	}
	if len(w.tries) < 9 || len(w.recalls) != len(w.tries) {
		t.Fatalf("%d attempts that don't pay, %d recalls", len(w.tries), len(w.recalls))
	}
	for i := range w.tries {
		if d := w.recalls[i] - w.tries[i]; d != trial {
			t.Errorf("attempt %d is recalled after %v, want %v", i, d, trial)
		}
		if i > 0 && w.tries[i] < w.tries[i-1]+w.terms[i-1] {
			t.Errorf("attempt %d comes %v after the one before, whose term was %v", i, w.tries[i]-w.tries[i-1], w.terms[i-1])
		}
	}

	w.pass(w.end+maxTerm+time.Second, windowTime/10, windowTime/10, 8)
	tries := len(w.tries)
	w.pass(w.end+200*time.Millisecond, windowTime, windowTime, 8)
	if len(w.terms) != tries+1 || w.terms[tries] != minTerm {
		t.Errorf("terms %v, want one more of %v", w.terms, minTerm)
	}
	w.rate = 1200 // it pays, also with a window at the old rate
	recalls := len(w.recalls)
	w.pass(w.end+2*trial, windowTime, windowTime, 8)
	if len(w.recalls) != recalls {
		t.Error("an attempt that pays is recalled")
	}
}

// TestLoan proves when a thread gives shards back.
func TestLoan(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		term   time.Duration // 0: it has them for a fan-out at 0
		work   time.Duration // of each millisecond
		recall time.Duration
		want   time.Duration
	}{
		{name: "fan-out", want: fanOutLoan},
		{name: "fan-out, recalled", recall: 2 * ms, want: 2 * ms},
		{name: "term", term: time.Second, work: ms, want: time.Second},
		{name: "term, recalled", term: time.Second, work: ms, recall: 250 * ms, want: 250 * ms},
		{name: "term with work for a quarter", term: time.Second, work: ms / 4, want: time.Second},
		{name: "term without work", term: time.Second, work: ms / 5, want: windowTime},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s loan
			var w window
			s.term.Store(int64(tt.term))
			for end := ms; ; end += ms {
				s.recalled.Store(tt.recall > 0 && end >= tt.recall)
				if s.over(&w, end-tt.work, end) {
					if end != tt.want {
						t.Errorf("over after %v, want %v", end, tt.want)
					}
					return
				}
				if end > 2*time.Second {
					t.Fatal("never over")
				}
			}
		})
	}
}
