package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// seconds is a time of ref.expires.
func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// check fails if the books of a queue are wrong, or if its chunks are.
func (q *queue) check(t *testing.T, want []entry) {
	t.Helper()
	var n, loaded, loadedBytes int32
	var bytes int64
	i := 0
	for e := range q.all {
		if i >= len(want) || e.key != want[i].key || e.m != want[i].m || e.via != want[i].via || e.ref != want[i].ref {
			t.Fatalf("entry %d is %+v, want %+v", i, e, want[min(i, len(want)-1)])
		}
		i++
		n++
		bytes += int64(e.size())
		if !e.missing() {
			loaded++
			if e.key != 0 {
				loadedBytes += int32(e.size())
			}
		}
		if e.expires != 0 && (q.soonest == 0 || q.soonest > e.expires) {
			t.Fatalf("soonest is %d, and an entry ends at %d", q.soonest, e.expires)
		}
	}
	if i != len(want) || q.n != n || q.bytes != bytes || q.loaded != loaded || q.loadedBytes != loadedBytes {
		t.Fatalf("%d entries, want %d; the queue says %+v", i, len(want), *q)
	}
	if q.first == nil {
		return
	}
	last := q.first.prev
	for c := q.first; ; c = c.next {
		if len(c.refs) == c.head {
			t.Fatal("an empty chunk")
		}
		if c == last {
			break
		}
		if c.next.prev != c {
			t.Fatal("prev is wrong")
		}
	}
	if spare := last.next; spare != nil && (len(spare.refs) > 0 || spare.next != nil) {
		t.Fatal("something follows the last chunk")
	}
}

// TestQueueModel compares a queue with a list, over random calls.
func TestQueueModel(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			q, model := &queue{}, []entry{}
			vias := []*via{nil, {}, {group: 1}}
			var now time.Duration
			key := message.Key(0)
			pushes := 1 + r.IntN(12)
			ttl := []uint32{0, uint32(1 + r.IntN(20))}
			for range 2000 {
				switch op := r.IntN(16); {
				case op < pushes:
					for range r.IntN(40) {
						e := entry{ref: ref{bits: uint32(r.IntN(100)), expires: ttl[r.IntN(2)]}, via: vias[min(r.IntN(30), 2)]}
						if e.expires != 0 {
							e.expires += uint32(now/time.Second) + uint32(r.IntN(3))
						}
						if key++; seed%2 == 0 {
							e.key = key
						}
						if e.key == 0 || r.IntN(4) == 0 {
							e.m = &message.Message{}
							e.m.Expires = seconds(e.expires)
						}
						q.push(e)
						model = append(model, e)
					}
				case op < 12:
					for range min(r.IntN(40), len(model)) {
						q.pop()
						model = model[1:]
					}
				case op == 12:
					now += time.Second
					before := len(model)
					for round := 0; ; round++ {
						var gone []entry
						q.sweep(now, func(e entry) { gone = append(gone, e) })
						for _, g := range gone {
							if !g.expired(now) {
								t.Fatal("swept, and not ended")
							}
							at := slices.IndexFunc(model, func(e entry) bool { return e == g })
							model = slices.Delete(model, at, at+1)
						}
						q.check(t, model)
						left := slices.ContainsFunc(model, func(e entry) bool { return e.expired(now) })
						if !left || r.IntN(50) == 0 {
							break
						}
						if round > 2*before+10 {
							t.Fatal("sweep does not find what has ended")
						}
					}
				case op == 13:
					which := vias[r.IntN(3)]
					gone := func(e entry) bool { return e.via == which }
					q.removeVia(gone)
					model = slices.DeleteFunc(model, func(e entry) bool { return e.via != nil && gone(e) })
				case op == 14 && len(model) > 0:
					i := r.IntN(min(len(model), ahead))
					switch k := model[i].key; {
					case k == 0:
					case r.IntN(2) == 0:
						if e, found := q.lose(k); !found || e != model[i] {
							t.Fatalf("lost %+v, want %+v", e, model[i])
						}
						model = slices.Delete(model, i, i+1)
					default:
						model[i].m = &message.Message{Expires: seconds(model[i].expires)}
						q.supply(k, model[i].m)
					}
				case op == 15 && r.IntN(10) == 0:
					q.unload()
					for i := range model {
						if model[i].key != 0 {
							model[i].m = nil
						}
					}
				}
				q.check(t, model)
			}
		})
	}
}

// TestQueueOfFew proves that a queue whose messages end in the middle does not
// keep the memory of many for a few.
func TestQueueOfFew(t *testing.T) {
	const lasting = 1000
	var q queue
	for i := range uint32(lasting * largeChunk) {
		e := entry{ref: ref{key: message.Key(i + 1)}}
		if i%largeChunk != 0 {
			e.expires = 1 + i/largeChunk%7 // chunk by chunk at different times
		}
		q.push(e)
	}
	for now := range uint32(8) {
		for range 10_000 {
			q.sweep(seconds(now), func(entry) {})
		}
	}
	chunks := 0
	for c := q.first; c != nil; c = c.next {
		chunks++
	}
	if q.n != lasting || chunks > 2*lasting/largeChunk+2 {
		t.Errorf("%d entries in %d chunks", q.n, chunks)
	}
}

// fullQueue returns a session with n messages waiting, as many as may. every one
// of so many ends, at different times; 0: none.
func fullQueue(tb testing.TB, stored bool, policy Policy, n int, every int) (s *Session, deliver func(now time.Duration) (Outcome, int)) {
	cfg := testConfig()
	cfg.QueueMessages, cfg.StoredMessages, cfg.QueueBytes, cfg.StoredBytes, cfg.QueuePolicy = n, n, 1<<30, 1<<30, policy
	cfg.Journal = mute{}
	number := uint64(0)
	if stored {
		number = 1
	}
	made := New(cfg, number)
	s = &made
	m := &message.Message{Topic: []byte("t"), Payload: []byte("0123456789"), QoS: 1}
	keeper := Cloned(m)
	sent := 0
	deliver = func(now time.Duration) (Outcome, int) {
		sent++
		m.Expires = 0
		if every > 0 && sent%every == 0 {
			m.Expires = now + seconds(uint32(10+sent%1000))
		}
		d := Delivery{Message: keeper, QoS: 1}
		if stored {
			d.Key, d.Sole = message.NewKey(uint64(sent), 0), true
		}
		_, o, dropped := s.Deliver(nil, d, now)
		return o, dropped
	}
	for range n {
		if o, _ := deliver(0); o != Queued {
			tb.Fatalf("outcome %d while there is room", o)
		}
	}
	return s, deliver
}

// mute is a Journal that does nothing.
type mute struct{}

func (mute) Finish(uint64, message.Stored)                      {}
func (mute) Begin(uint64, message.Key, packet.ID) (turn uint64) { return 0 }
func (mute) AwaitPubcomp(uint64, message.Key, packet.ID)        {}
func (mute) End(uint64, message.Key)                            {}
func (mute) Forget(uint64, packet.ID, bool)                     {}

// TestFullQueue proves that a message for a queue at its limit costs no more for
// a long queue, and no memory, and that messages that have ended go first.
func TestFullQueue(t *testing.T) {
	const n = 100_000
	for _, stored := range []bool{false, true} {
		for _, policy := range []Policy{RefuseNew, DropOldest} {
			for _, every := range []int{0, 1, 2, 300} {
				t.Run(fmt.Sprintf("stored %v, policy %d, one in %d ends", stored, policy, every), func(t *testing.T) {
					s, deliver := fullQueue(t, stored, policy, n, every)
					var now time.Duration
					step := func() {
						now += 10 * time.Millisecond
						deliver(now)
					}
					const runs = 2000
					if allocs := testing.AllocsPerRun(runs, step); allocs > 0 {
						t.Errorf("%v allocations for each message", allocs)
					}
					if s.Queued() > n {
						t.Errorf("%d waiting", s.Queued())
					}
				})
			}
		}
	}
	t.Run("what has ended makes room, wherever it is", func(t *testing.T) {
		for _, policy := range []Policy{RefuseNew, DropOldest} {
			const n = 10_000
			s, deliver := fullQueue(t, true, policy, n, 4)
			lasting := func() (n int) {
				for e := range s.queue.all {
					if e.expires == 0 {
						n++
					}
				}
				return n
			}
			before := lasting()
			late := 2000 * time.Second // a fourth of the queue has ended
			first, _ := deliver(late)
			if first != Queued || lasting() < before {
				t.Errorf("policy %d: outcome %d, and %d lasting messages of %d are left", policy, first, lasting(), before)
			}
			for range n / 5 {
				if o, _ := deliver(late); o != Queued {
					t.Fatalf("policy %d: refused, and a part of the queue has ended", policy)
				}
			}
			if lasting() < before {
				t.Errorf("policy %d: lasting messages made room for others", policy)
			}
		}
	})
}

func BenchmarkFullQueue(b *testing.B) {
	for _, every := range []int{0, 2} {
		for _, stored := range []bool{false, true} {
			b.Run(fmt.Sprintf("stored=%v/ends=%d", stored, every), func(b *testing.B) {
				_, deliver := fullQueue(b, stored, DropOldest, 1_000_000, every)
				var now time.Duration
				b.ReportAllocs()
				for b.Loop() {
					now += time.Millisecond
					deliver(now)
				}
			})
		}
	}
}
