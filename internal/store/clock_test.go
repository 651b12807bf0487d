package store

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/message"
)

// TestDowntime proves that what cannot be known counts as nothing.
func TestDowntime(t *testing.T) {
	const day = 24 * time.Hour
	right := time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC)
	at := func(wall time.Time, boot string, up time.Duration) anchor {
		return newAnchor(timeline{}, Reading{Engine: time.Hour, Wall: wall, Boot: boot, Up: up})
	}
	for name, tt := range map[string]struct {
		last, now anchor
		want      time.Duration
	}{
		"the same boot":                         {at(right, "a", time.Hour), at(right.Add(time.Minute), "a", time.Hour+time.Minute), time.Minute},
		"the same boot, set forward":            {at(right, "a", time.Hour), at(right.Add(9999*day), "a", time.Hour+time.Minute), time.Minute},
		"the same boot, set back":               {at(right, "a", time.Hour), at(right.Add(-9999*day), "a", time.Hour+time.Minute), time.Minute},
		"the same boot, right at last":          {at(time.Unix(9, 0), "a", time.Hour), at(right, "a", time.Hour+time.Minute), time.Minute},
		"the same boot, a year":                 {at(right, "a", time.Hour), at(right, "a", 400*day), 400*day - time.Hour},
		"a copy of a machine":                   {at(right, "a", time.Hour), at(right.Add(time.Minute), "a", time.Second), time.Minute},
		"another boot":                          {at(right, "a", time.Hour), at(right.Add(day), "b", 9*time.Hour), day},
		"another boot, set back":                {at(right, "a", time.Hour), at(right.Add(-day), "b", time.Minute), 0},
		"another boot, no battery":              {at(right, "a", time.Hour), at(time.Unix(12, 0), "b", time.Minute), 0},
		"another boot, no battery the last one": {at(time.Unix(12, 0), "a", time.Hour), at(right, "b", time.Minute), 0},
		"another boot, no battery ever":         {at(time.Unix(12, 0), "a", time.Hour), at(time.Unix(100, 0), "b", time.Minute), 0},
		"another boot, years ahead":             {at(right, "a", time.Hour), at(right.Add(5000*day), "b", time.Minute), 0},
		"unknown boots":                         {at(right, "", 0), at(right.Add(day), "", 0), day},
		"unknown boots, set back":               {at(right, "", 0), at(right.Add(-day), "", 0), 0},
		"unknown boots, no battery":             {at(right, "", 0), at(time.Unix(-5, 0), "", 0), 0},
	} {
		if got := time.Duration(tt.last.downtime(tt.now)) * time.Millisecond; got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
		var again anchor
		if err := again.decode(tt.last.append(nil)); err != nil || again != tt.last {
			t.Errorf("%s: %+v comes back as %+v, %v", name, tt.last, again, err)
		}
	}
}

// TestBegin proves that the timeline begins as the time of day, but never before
// there were brokers, and goes on from its anchor.
func TestBegin(t *testing.T) {
	right := time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		wall time.Time
		last *anchor
		want uint64
	}{
		"the first start":               {right, nil, uint64(right.UnixMilli())},
		"the first start, no battery":   {time.Unix(60, 0), nil, earliest},
		"a later start":                 {right, &anchor{at: 5000, wall: uint64(right.UnixMilli()) - 100}, 5100},
		"a later start, no battery":     {time.Unix(60, 0), &anchor{at: 5000, wall: uint64(right.UnixMilli()) - 100}, 5000},
		"a later start, right at last":  {right, &anchor{at: 5000, wall: 60_000}, 5000},
		"a later start, before 1970":    {time.Unix(-60, 0), &anchor{at: 5000, wall: 0}, 5000},
		"the engine was started before": {right, &anchor{at: 5000, wall: uint64(right.UnixMilli())}, 5000},
	} {
		for _, engine := range []time.Duration{0, 1, time.Second, 90 * time.Minute} {
			l := newTimeline(Reading{Engine: engine, Wall: tt.wall}, tt.last)
			if got := l.stamp(engine + time.Second); got != tt.want+1000 {
				t.Errorf("%s, at %v: a second later it is %d, want %d", name, engine, got, tt.want+1000)
			}
		}
	}
}

// ticking is a machine whose clocks the test sets.
type ticking struct{ r Reading }

func (k *ticking) read() Reading { return k.r }

func (k *ticking) pass(d time.Duration) {
	k.r.Engine += d
	k.r.Up += d
	k.r.Wall = k.r.Wall.Add(d)
}

// heir starts the next store on what a disk has, after some time on the clocks.
func (k *ticking) heir(t *testing.T, d *testDisk, down time.Duration) (*Store, *heirLoader) {
	t.Helper()
	k.pass(down)
	k.r.Engine = time.Second
	s, l := New(d, Config{Shards: 1, Clock: k.read}), &heirLoader{testLoader: testLoader{shards: 1}}
	damaged, err := s.Load(l)
	if err != nil {
		t.Fatal(err)
	}
	l.damaged = damaged
	return s, l
}

type heirLoader struct {
	testLoader
	damaged []Damaged
}

// put submits what a turn wants, and commits it.
func put(s *Store, fill func(*Turn)) {
	t := s.Turn()
	fill(t)
	s.Submit(0, t)
	s.Step()
}

func (d *testDisk) anchor(t *testing.T) (a anchor) {
	t.Helper()
	b, err := d.Get(nil, clockKey(nil))
	if err == nil {
		err = a.decode(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestAnchors proves when anchors are written: at the start, with the batches of
// a busy store once a second, and when the time of day was set.
func TestAnchors(t *testing.T) {
	d, k := newTestDisk(), &ticking{Reading{Wall: time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC), Boot: "a", Up: time.Hour}}
	s, _ := k.heir(t, d, 0)
	first := d.anchor(t)
	if d.synced[string(clockKey(nil))] == "" {
		t.Error("the first is not synced")
	}
	wrote := func(want bool, what string) {
		t.Helper()
		before := d.anchor(t)
		put(s, func(t *Turn) { t.PutSubscription(1, &Subscription{Filter: "a"}) })
		if got := d.anchor(t) != before; got != want {
			t.Errorf("%s: written %v, want %v", what, got, want)
		}
	}
	k.pass(900 * time.Millisecond)
	wrote(false, "soon after the start")
	k.pass(200 * time.Millisecond)
	wrote(true, "after a second")
	wrote(false, "at once again")
	k.r.Wall = k.r.Wall.Add(-time.Hour)
	wrote(true, "the time of day was set back")
	k.r.Wall = k.r.Wall.Add(time.Hour)
	wrote(true, "the time of day was set forward")
	k.r.Wall, k.r.Up = k.r.Wall.Add(time.Hour), k.r.Up+time.Hour
	wrote(false, "the machine slept")
	if got := d.anchor(t); got.at != first.at+1100 {
		t.Errorf("the timeline went on by %d ms, want 1100", got.at-first.at)
	}
}

// TestIdleAnchors proves the same of a store that has nothing else to write.
func TestIdleAnchors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, began := newTestDisk(), time.Now()
		var ahead atomic.Int64 // of the wall clock
		at := func() time.Duration { return time.Since(began) }
		wall := time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC)
		s := New(d, Config{Shards: 1, Clock: func() Reading { return Reading{Engine: at(), Wall: wall.Add(at() + time.Duration(ahead.Load()))} }})
		if _, err := s.Load(&testLoader{shards: 1}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			s.Run(ctx)
			close(ended)
		}()
		synctest.Wait()
		first := d.anchor(t)
		commits, _ := d.counted()
		older := func() time.Duration { // than now
			synctest.Wait()
			return at() - time.Duration(d.anchor(t).at-first.at)*time.Millisecond
		}
		for range 20 {
			time.Sleep(time.Minute)
			if got := older(); got > idleAnchorEvery+clockEvery {
				t.Fatalf("the anchor is %v old", got)
			}
		}
		if now, _ := d.counted(); now-commits > 20 {
			t.Errorf("%d commits in 20 idle minutes", now-commits)
		}
		time.Sleep(time.Second)
		ahead.Add(-50 * 365 * 24 * int64(time.Hour))
		_, syncs := d.counted()
		time.Sleep(clockEvery)
		got := older()
		if _, now := d.counted(); got > clockEvery || now == syncs {
			t.Errorf("the time of day was set: the anchor is %v old, synced %v", got, now > syncs)
		}
		time.Sleep(3 * time.Second)
		cancel()
		<-ended
		if got := older(); got > time.Millisecond {
			t.Errorf("at the end the anchor is %v old", got)
		}
	})
}

// TestLostAnchor damages the anchor and sets the time of day back: nothing lives
// longer than was asked for, and the timeline goes on from there.
func TestLostAnchor(t *testing.T) {
	for _, damage := range []string{"", "\x80", "\x00\x00\x00\x00"} {
		t.Run(fmt.Sprintf("%q", damage), func(t *testing.T) {
			d, k := newTestDisk(), &ticking{Reading{Wall: time.Date(2050, 5, 1, 0, 0, 0, 0, time.UTC)}}
			s, _ := k.heir(t, d, 0)
			key, big := message.NewKey(s.NextSeq(), PartOwn), message.NewKey(s.NextSeq(), PartOwn)
			put(s, func(turn *Turn) {
				m := testMessage()
				m.Expire(k.r.Engine, 600)
				turn.PutSession(&Session{Number: 1, ClientID: "c", Expiry: 60, Left: k.r.Engine})
				receivers(turn, key, &m, 1)
				m.Payload = make([]byte, SeparateBytes)
				receivers(turn, big, &m, 1)
				m.Retain = true
				s.Retain(&m)
			})
			s.Step()
			if damage == "" {
				delete(d.now, string(clockKey(nil)))
			} else {
				d.set(clockKey(nil), []byte(damage))
			}
			k.r.Wall = time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC)
			for range 2 {
				var l *heirLoader
				s, l = k.heir(t, d, 0)
				most := k.r.Engine + 600*time.Second
				if got := l.retained[0].Expires; got > most {
					t.Errorf("the retained message ends at %v, want %v", got, most)
				}
				for _, w := range l.waiting {
					if w.Expires > most || w.Message.Expires > most {
						t.Errorf("a waiting message ends at %v and %v, want %v", w.Expires, w.Message.Expires, most)
					}
				}
				s.Fetch(&Fetch{Items: []message.Stored{{Key: key, Size: 9, Sole: true}, {Key: big, Size: SeparateBytes}}, Done: func(all []Result) {
					for _, r := range all {
						if r.Err != nil || r.Message.Expires > most {
							t.Errorf("the content: %+v, %v", r.Message, r.Err)
						}
					}
				}})
				s.StepReads()
				if got := l.sessions[0].Left; got > k.r.Engine {
					t.Errorf("the session was left at %v", got)
				}
				if want := damage != ""; len(l.damaged) == 1 != want {
					t.Errorf("damaged: %v", l.damaged)
				}
				damage = "" // the next finds an anchor
			}
		})
	}
}

// TestIntervals proves that the whole range of intervals survives a restart, with
// all kinds of messages.
func TestIntervals(t *testing.T) {
	d, k := newTestDisk(), &ticking{Reading{Wall: time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC)}}
	s, _ := k.heir(t, d, 0)
	seconds := []uint32{0, 1, 60, 1 << 31, math.MaxUint32 - 1, math.MaxUint32}
	put(s, func(turn *Turn) {
		turn.PutSession(&Session{Number: 1, ClientID: "c", Expiry: math.MaxUint32})
		for i, n := range seconds {
			m := testMessage(func(m *message.Message) { m.Expire(k.r.Engine, n) })
			if i%2 == 1 {
				m.Payload = make([]byte, SeparateBytes)
			}
			receivers(turn, message.NewKey(s.NextSeq(), PartOwn), &m, 1)
			turn.PutWill(&Will{Number: s.NextSeq(), ClientID: "c", Delay: time.Duration(n) * time.Second, Expiry: max(time.Duration(n)*time.Second, 1), Message: testMessage()})
		}
	})
	_, l := k.heir(t, d, 10*time.Second)
	for i, n := range seconds {
		w := l.waiting[i]
		want := k.r.Engine + max(time.Duration(n)*time.Second, 100*time.Millisecond) - 10*time.Second
		if w.Interval != n || w.Expires != want || !w.Separate && (w.Message.Interval != n || w.Message.Expires != want) {
			t.Errorf("%d: a message comes back with %d, and ends at %v and %v; want %v", n, w.Interval, w.Expires, w.Message.Expires, want)
		}
		will := l.wills[i]
		if time.Duration(n)*time.Second != will.Delay || max(time.Duration(n)*time.Second, 1) != will.Expiry {
			t.Errorf("%d: a will comes back with delay %v, expiry %v", n, will.Delay, will.Expiry)
		}
	}
}

// TestTimeOfDay proves that tools tell what a clock on the wall shows when
// something ends, though the timeline began long before that was right.
func TestTimeOfDay(t *testing.T) {
	right := time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC)
	d, k := newTestDisk(), &ticking{Reading{Wall: time.Unix(60, 0), Boot: "a"}}
	s, _ := k.heir(t, d, 0)
	for _, wall := range []time.Time{time.Unix(60, 0), right} {
		k.r.Wall = wall
		m := testMessage(func(m *message.Message) { m.Expire(k.r.Engine, 600) })
		s.Retain(&m)
		s.Step()
		tool, l := New(ReadOnly(d), Config{Shards: 1}), &testLoader{shards: 1}
		if _, err := tool.Load(l); err != nil {
			t.Fatal(err)
		}
		want := right.Add(600 * time.Second)
		if wall != right {
			want = time.UnixMilli(int64(earliest)).Add(600 * time.Second)
		}
		if got := tool.TimeOfDay(l.retained[0].Expires); !got.Equal(want) {
			t.Errorf("while the clock shows %v: it ends at %v, want %v", wall, got, want)
		}
	}
}
