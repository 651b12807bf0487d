package retained

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"midge/internal/message"
	"midge/internal/topic"
)

// matches returns the messages that a filter matches.
func matches(r *Messages, filter string, now time.Duration) (all []*message.Message) {
	for c, more := topic.NewCursor(filter), true; more; {
		all, _, more = r.Step(all, c, 1000, r.Newest(), now)
	}
	return all
}

// TestRetainedHeap sets, replaces and removes at random, and compares with a
// map what is there.
func TestRetainedHeap(t *testing.T) {
	if size := unsafe.Sizeof(entry{}); size > 112 {
		t.Errorf("a retained message takes %d bytes: that is another size class", size)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := New(nil, func([]byte) bool { return false })
	r.Limit(50, 1<<20)
	want := map[string]message.Message{}
	now := time.Duration(0)
	for range 20_000 {
		now += time.Duration(rnd.IntN(1000)) * time.Millisecond
		m := message.Message{Topic: fmt.Append(nil, "t/", rnd.IntN(100)), Retain: true}
		if rnd.IntN(4) > 0 {
			m.Payload = []byte("x")
		}
		if rnd.IntN(3) > 0 {
			m.Expire(now, uint32(rnd.IntN(60)))
		}
		for topic, old := range want {
			if old.Expired(now) {
				delete(want, topic)
			}
		}
		if delete(want, string(m.Topic)); len(m.Payload) > 0 && len(want) < 50 {
			want[string(m.Topic)] = m
		}
		r.Set(&m, now, false)
		if rnd.IntN(10) == 0 {
			r.Sweep(now)
			if len(want) != r.messages.Len() {
				t.Fatalf("%d messages, want %d", r.messages.Len(), len(want))
			}
		}
		if got := matches(r, "#", now); len(got) != len(want) {
			t.Fatalf("%d are found, want %d", len(got), len(want))
		}
		ends := 0
		for i, k := range r.expiring {
			if int(k.place) != i+1 || r.expiring[max(i-1, 0)/2].Expires > k.Expires {
				t.Fatalf("entry %d believes that it is at %d, or ends before its parent", i, k.place-1)
			}
			if !k.Expired(now) {
				ends++
			}
		}
		for _, m := range want {
			if m.Expires != 0 {
				ends--
			}
		}
		if ends != 0 {
			t.Fatalf("%d too many in the heap", ends)
		}
	}
}

// log has what is durable.
type log map[string]string

func (l log) Retain(m *message.Message) { l[string(m.Topic)] = string(m.Payload) }
func (l log) Unretain(topic []byte)     { delete(l, string(topic)) }

// TestLimits fills Messages up, and proves that what finds no room takes away the
// message before it, in the store as well; that own messages count for nothing,
// and are in no store; and that nothing grows while memory is short.
func TestLimits(t *testing.T) {
	l := log{}
	r := New(l, func(topic []byte) bool { return bytes.HasPrefix(topic, []byte("$")) })
	r.Limit(2, 1000)
	set := func(topic, payload string, short, want bool) {
		t.Helper()
		if ok := r.Set(&message.Message{Topic: []byte(topic), Payload: []byte(payload), Retain: true}, 0, short); ok != want {
			t.Errorf("%s: %v, want %v", topic, ok, want)
		}
	}
	has := func(topic, want string) {
		t.Helper()
		got := ""
		if m := r.Get(topic, r.Newest(), 0); m != nil {
			got = string(m.Payload)
		}
		if got != want || topic[0] != '$' && l[topic] != want {
			t.Errorf("%s: %q, in the store %q, want %q", topic, got, l[topic], want)
		}
	}
	big := string(make([]byte, 1000))
	set("a", "1", false, true)
	set("b", "1", false, true)
	set("c", "1", false, false)
	set("$x", big, false, true)
	set("a", "2", true, true)
	has("a", "2")
	has("$x", big)
	has("c", "")
	set("a", "longer", true, false)
	has("a", "")
	set("a", big, false, false)
	set("a", "3", false, true)
	set("b", "", false, true)
	has("b", "")
	if n, size, _ := r.Count(); n != 2 || size < 1000 || len(l) != 1 {
		t.Errorf("%d messages of %d bytes, %d in the store", n, size, len(l))
	}
	r.SetBudget(0)
	set("b", "1", false, false)
}

// TestNewest leaves out what came after a walk was asked for.
func TestNewest(t *testing.T) {
	r := New(nil, func([]byte) bool { return false })
	r.Limit(10, 1000)
	set := func(topic string) { r.Set(&message.Message{Topic: []byte(topic), Payload: []byte("x")}, 0, false) }
	set("a")
	set("b")
	newest := r.Newest()
	set("c")
	set("a") // replaced
	var c topic.Cursor
	c.Reset("#")
	if all, _, more := r.Step(nil, &c, 10, newest, 0); more || len(all) != 1 || string(all[0].Topic) != "b" {
		t.Errorf("found %d, more %v, want only b", len(all), more)
	}
	if r.Get("a", newest, 0) != nil || r.Get("b", newest, 0) == nil {
		t.Error("Get does not go by the stamp")
	}
}
