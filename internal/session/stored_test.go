package session

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// journal writes down what a session tells it.
type journal struct{ said []string }

func (j *journal) Finish(_ uint64, m message.Stored) {
	j.said = append(j.said, fmt.Sprint("finished ", m.Key.Seq()))
}

func (j *journal) Begin(_ uint64, k message.Key, id packet.ID) uint64 {
	j.said = append(j.said, fmt.Sprint("began ", k.Seq(), " as ", id))
	return 5
}

func (j *journal) AwaitPubcomp(_ uint64, k message.Key, id packet.ID) {
	j.said = append(j.said, fmt.Sprint("released ", k.Seq(), " as ", id))
}

func (j *journal) End(_ uint64, k message.Key) {
	j.said = append(j.said, fmt.Sprint("ended ", k.Seq()))
}

func (j *journal) Forget(_ uint64, id packet.ID, _ bool) {
	j.said = append(j.said, fmt.Sprint("forgotten ", id))
}

// wants checks what was said since the last call.
func (j *journal) wants(t *testing.T, want ...string) {
	t.Helper()
	if fmt.Sprint(j.said) != fmt.Sprint(want) {
		t.Errorf("the journal was told %q, want %q", j.said, want)
	}
	j.said = nil
}

// stored returns a stored session whose client has connected with Receive
// Maximum n, or is away if that is 0.
func stored(n uint16, change ...func(*Config)) (*Session, *journal) {
	j := &journal{}
	cfg := testConfig()
	cfg.QueueMessages, cfg.StoredMessages, cfg.StoredBytes, cfg.Journal = 0, 1_000_000, 1<<40, j
	for _, f := range change {
		f(cfg)
	}
	s := New(cfg, 1)
	if n > 0 {
		s.Attach(linkOf(cfg, packet.V5, n))
	}
	return &s, j
}

func (s *Session) take(t *testing.T, seq uint64, qos packet.QoS, text string, want Outcome) []byte {
	t.Helper()
	d := delivery(qos, text)
	d.Key, d.Sole = message.NewKey(seq, 0), true
	out, o, _ := s.Deliver(nil, d, 0)
	if o != want {
		t.Fatalf("Deliver(QoS %d, %s) = outcome %d, want %d", qos, text, o, want)
	}
	return out
}

func (s *Session) rejoin(n uint16) []byte {
	s.Detach()
	s.Attach(linkOf(s.cfg, packet.V5, n))
	out, _ := s.Pump(s.Resume(nil), plenty, 0)
	return out
}

// supplyAll reads what is wanted and returns what is sent then.
func (s *Session) supplyAll() []byte {
	for _, w := range s.Wanted(nil) {
		s.Supply(w.Key, &message.Message{Topic: []byte("t"), Payload: fmt.Append(nil, "m", w.Key.Seq()), QoS: 2})
	}
	out, _ := s.Pump(nil, plenty, 0)
	return out
}

func answer(s *Session, k packet.Type, id packet.ID, code packet.ReasonCode) []byte {
	out, _ := s.acked(ack(k, id, code), 0)
	return out
}

func TestJournal(t *testing.T) {
	const v = packet.V5
	t.Run("v5/MQTT-4.3.2-3/QoS 1 is finished by PUBACK", func(t *testing.T) {
		s, j := stored(9)
		expect(t, v, s.take(t, 1, 1, "a", Sent), "PUBLISH 1 q1 a")
		j.wants(t)
		answer(s, packet.PUBACK, 1, 0)
		j.wants(t, "finished 1")
	})
	t.Run("QoS 2 is sent when its identifier is on disk", func(t *testing.T) {
		s, j := stored(9)
		expect(t, v, s.take(t, 1, 2, "a", Sent))
		j.wants(t, "began 1 as 1")
		s.Committed(4)
		out, _ := s.Pump(nil, plenty, 0)
		expect(t, v, out)
		s.Committed(5)
		out, _ = s.Pump(nil, plenty, 0)
		expect(t, v, out, "PUBLISH 1 q2 a")
		expect(t, v, answer(s, packet.PUBREC, 1, 0), "PUBREL 1")
		j.wants(t, "released 1 as 1", "finished 1")
		expect(t, v, answer(s, packet.PUBREC, 1, 0), "PUBREL 1")
		j.wants(t)
		answer(s, packet.PUBCOMP, 1, 0)
		j.wants(t, "ended 1")
	})
	t.Run("v5/MQTT-3.3.2-5/QoS 2 that ends while its identifier goes to disk is not sent", func(t *testing.T) {
		s, j := stored(1)
		d := delivery(2, "a")
		d.Key, d.Sole = message.NewKey(1, 0), true
		d.Message.Borrowed.Expire(0, 3)
		s.Deliver(nil, d, 0)
		s.take(t, 2, 1, "b", Queued)
		s.Committed(5)
		out, dropped := s.Pump(nil, plenty, 4*time.Second)
		expect(t, v, out, "PUBLISH 2 q1 b")
		j.wants(t, "began 1 as 1", "finished 1", "ended 1")
		if dropped.Expired != 1 {
			t.Errorf("%d counted as expired, want 1", dropped.Expired)
		}
	})
	t.Run("v5/MQTT-4.3.3-4/PUBREC with failure ends and finishes", func(t *testing.T) {
		s, j := stored(9)
		s.take(t, 1, 2, "a", Sent)
		s.Committed(5)
		s.Pump(nil, plenty, 0)
		answer(s, packet.PUBREC, 1, packet.QuotaExceeded)
		j.wants(t, "began 1 as 1", "finished 1", "ended 1")
	})
	t.Run("QoS 0 is no business of the journal", func(t *testing.T) {
		s, j := stored(9)
		s.take(t, 0, 0, "a", Sent)
		j.wants(t)
	})
	t.Run("what is dropped is finished", func(t *testing.T) {
		s, j := stored(0, func(c *Config) { c.StoredMessages, c.QueuePolicy = 2, DropOldest })
		for i := range uint64(4) {
			s.take(t, i+1, 1, "a", Queued)
		}
		j.wants(t, "finished 1", "finished 2")
	})
	t.Run("what finds no room is finished", func(t *testing.T) {
		s, j := stored(0, func(c *Config) { c.StoredBytes = 4 })
		s.take(t, 1, 1, "abc", Queued) // with its topic
		s.take(t, 2, 1, "a", Full)
		s.take(t, 3, 1, "abcd", Full)
		j.wants(t, "finished 2", "finished 3")
	})
	t.Run("v5/MQTT-3.3.2-5/what has ended is finished", func(t *testing.T) {
		s, j := stored(0)
		d := delivery(1, "a")
		d.Message.Borrowed.Expires, d.Key = 3*time.Second, message.NewKey(1, 0)
		s.Deliver(nil, d, 0)
		s.take(t, 2, 1, "b", Queued)
		s.Attach(linkOf(s.cfg, v, 9))
		out, drops := s.Pump(s.Resume(nil), plenty, 3*time.Second)
		if j.wants(t, "finished 1"); drops.Expired != 1 {
			t.Errorf("%d expired", drops.Expired)
		}
		expect(t, v, out)
		expect(t, v, s.supplyAll(), "PUBLISH 1 q1 m2")
		d.Key = message.NewKey(3, 0)
		if _, o, _ := s.Deliver(nil, d, 3*time.Second); o != Expired {
			t.Errorf("outcome %d", o)
		}
		j.wants(t, "finished 3")
	})
	t.Run("v5/MQTT-3.3.2-5/Take passes over what has ended", func(t *testing.T) {
		s, j := stored(0)
		d := delivery(1, "a")
		d.Message.Borrowed.Expires = 3 * time.Second
		for i := range uint64(2) {
			d.Key = message.NewKey(i+1, 0)
			s.Deliver(nil, d, 0)
		}
		s.take(t, 3, 1, "b", Queued)
		got, expired, ok := s.Take(4 * time.Second)
		if !ok || got.Stored.Key.Seq() != 3 || expired != 2 {
			t.Errorf("message %d, %v, after %d that have ended", got.Stored.Key.Seq(), ok, expired)
		}
		j.wants(t, "finished 1", "finished 2")
	})
	t.Run("v5/MQTT-3.1.2-25/what is too large is finished", func(t *testing.T) {
		s, j := stored(0)
		c := packet.Connect{Version: v}
		c.Properties.MaximumPacketSize = 12
		c.Properties.Set(packet.PropMaximumPacketSize)
		s.Attach(NewLink(&c, s.cfg, 0))
		s.take(t, 1, 1, "much too long for it", TooLarge)
		j.wants(t, "finished 1")
		s.take(t, 2, 2, "much too long for it", Sent) // nothing is sent before it is on disk
		s.Committed(5)
		out, drops := s.Pump(nil, plenty, 0)
		expect(t, v, out)
		if drops.TooLarge != 1 {
			t.Errorf("%d too large", drops.TooLarge)
		}
		j.wants(t, "began 2 as 2", "finished 2", "ended 2")
	})
	t.Run("v5/MQTT-4.3.3-12/PUBREL forgets the identifier", func(t *testing.T) {
		s, j := stored(9)
		s.Receive(&packet.Publish{QoS: 2, ID: 7, Topic: []byte("t")})
		j.wants(t)
		expect(t, v, answer(s, packet.PUBREL, 7, 0), "PUBCOMP 7")
		j.wants(t, "forgotten 7")
		expect(t, v, answer(s, packet.PUBREL, 7, 0), "PUBCOMP 7 0x92")
		j.wants(t)
	})
	t.Run("Forget makes a PUBLISH new", func(t *testing.T) {
		s, _ := stored(9)
		p := &packet.Publish{QoS: 2, ID: 7, Topic: []byte("t")}
		for _, want := range []bool{false, true} {
			if in, err := s.Receive(p); err != nil || in.Duplicate != want {
				t.Fatalf("duplicate %v, %v, want %v", in.Duplicate, err, want)
			}
		}
		s.Forget(7)
		if in, err := s.Receive(p); err != nil || in.Duplicate {
			t.Fatalf("duplicate %v, %v after Forget", in.Duplicate, err)
		}
	})
	t.Run("Bury tells of everything, in pieces", func(t *testing.T) {
		s, j := stored(2)
		s.take(t, 1, 1, "a", Sent)
		s.take(t, 2, 2, "b", Sent)
		for i := range uint64(3) {
			s.take(t, i+3, 1, "c", Queued)
		}
		s.Receive(&packet.Publish{QoS: 2, ID: 7, Topic: []byte("t")})
		j.said = nil
		s.Detach()
		if !s.Delete(2) {
			t.Error("one more is to be buried")
		}
		j.wants(t, "finished 1", "finished 2", "ended 2", "forgotten 7", "finished 3", "finished 4")
		if s.Delete(2) {
			t.Error("nothing more is to be buried")
		}
		j.wants(t, "finished 5")
	})
}

func TestRestore(t *testing.T) {
	const v = packet.V5
	restored := func(seq uint64, qos packet.QoS, id packet.ID, released bool) Restored {
		return Restored{Stored: message.Stored{Key: message.NewKey(seq, 0), Size: 3, Sole: true}, QoS: qos, ID: id, AwaitsPubcomp: released}
	}
	t.Run("v5/MQTT-4.4.0-1/exchanges go on with their identifiers", func(t *testing.T) {
		s, j := stored(0)
		s.Restore(restored(1, 2, 9, false))
		s.Restore(restored(2, 1, 0, false))
		s.Restore(restored(3, 2, 4, true))
		if s.Inflight() != 2 || s.Queued() != 1 {
			t.Fatalf("%d under way, %d waiting", s.Inflight(), s.Queued())
		}
		s.Attach(linkOf(s.cfg, v, 9))
		out, _ := s.Pump(s.Resume(nil), plenty, 0)
		expect(t, v, out, "PUBREL 4")
		expect(t, v, s.supplyAll(), "PUBLISH 9 q2 m1 dup", "PUBLISH 10 q1 m2")
		answer(s, packet.PUBCOMP, 4, 0)
		answer(s, packet.PUBREC, 9, 0)
		j.wants(t, "ended 3", "released 1 as 9", "finished 1")
	})
	t.Run("v5/MQTT-2.2.1-4/restored identifiers are in use", func(t *testing.T) {
		s, _ := stored(0, func(c *Config) { c.MaxInflight = 10 })
		s.Restore(restored(1, 2, 65_535, true))
		s.Restore(restored(2, 2, 1, true))
		s.Attach(linkOf(s.cfg, v, 9))
		expect(t, v, s.take(t, 3, 1, "a", Sent), "PUBLISH 2 q1 a")
	})
	t.Run("v5/MQTT-4.3.3-10/what was received is a duplicate", func(t *testing.T) {
		s, _ := stored(0)
		s.RestoreReceived(3)
		s.Attach(linkOf(s.cfg, v, 9))
		if in, err := s.Receive(&packet.Publish{QoS: 2, ID: 3, Topic: []byte("t")}); err != nil || !in.Duplicate {
			t.Errorf("duplicate %v, %v", in.Duplicate, err)
		}
	})
	t.Run("v5/MQTT-3.3.4-9/no more than the Receive Maximum", func(t *testing.T) {
		s, _ := stored(0)
		for i := range uint64(3) {
			s.Restore(restored(i+1, 2, packet.ID(i+1), false))
		}
		s.Attach(linkOf(s.cfg, v, 1))
		expect(t, v, s.supplyAll(), "PUBLISH 1 q2 m1 dup")
		answer(s, packet.PUBREC, 1, 0)
		expect(t, v, answer(s, packet.PUBCOMP, 1, 0), "PUBLISH 2 q2 m2 dup")
	})
	t.Run("v5/MQTT-4.6.0-6/nothing overtakes what is sent again", func(t *testing.T) {
		s, _ := stored(9)
		expect(t, v, s.take(t, 1, 1, "m1", Sent), "PUBLISH 1 q1 m1")
		expect(t, v, s.rejoin(9)) // it must be read
		expect(t, v, s.take(t, 2, 1, "m2", Queued))
		expect(t, v, s.supplyAll(), "PUBLISH 1 q1 m1 dup", "PUBLISH 2 q1 m2")
		expect(t, v, s.take(t, 3, 1, "m3", Sent), "PUBLISH 3 q1 m3")
	})
	t.Run("v5/MQTT-3.3.4-9/what began first gets the window", func(t *testing.T) {
		s, _ := stored(9)
		s.take(t, 1, 2, "a", Sent)
		expect(t, v, s.rejoin(1)) // its identifier is not on disk yet
		s.take(t, 2, 2, "b", Sent)
		s.Committed(5)
		expect(t, v, s.supplyAll(), "PUBLISH 1 q2 m1")
	})
}

func TestFetchWindow(t *testing.T) {
	const v = packet.V5
	waiting := func(n int) (*Session, *journal) {
		s, j := stored(0, func(c *Config) { c.MaxInflight = 1000 })
		for i := range n {
			s.take(t, uint64(i+1), 1, "a", Queued)
		}
		return s, j
	}
	t.Run("nothing is wanted for who is away", func(t *testing.T) {
		s, _ := waiting(3)
		if w := s.Wanted(nil); len(w) != 0 {
			t.Errorf("%d wanted", len(w))
		}
	})
	t.Run("reads ahead so far, and again when half is gone", func(t *testing.T) {
		s, _ := waiting(1000)
		s.Attach(linkOf(s.cfg, v, 1))
		w := s.Wanted(nil)
		if len(w) != ahead {
			t.Fatalf("%d wanted, want %d", len(w), ahead)
		}
		s.supplyAll()
		for id := packet.ID(1); len(s.Wanted(nil)) == 0; id++ {
			if answer(s, packet.PUBACK, id, 0); id > ahead {
				t.Fatal("nothing is wanted, and much waits")
			}
		}
		if s.queue.loaded >= ahead/2 || s.queue.loaded < ahead/4 {
			t.Errorf("more is wanted when %d are there", s.queue.loaded)
		}
	})
	t.Run("large messages one by one", func(t *testing.T) {
		s, _ := stored(0)
		for i := range uint64(5) {
			s.Restore(Restored{Stored: message.Stored{Key: message.NewKey(i+1, 0), Size: 10 << 20}, QoS: 1})
		}
		s.Attach(linkOf(s.cfg, v, 9))
		if w := s.Wanted(nil); len(w) != 1 {
			t.Errorf("%d messages of 10 MB wanted at once", len(w))
		}
	})
	t.Run("a gap holds up what is behind it", func(t *testing.T) {
		s, _ := waiting(2)
		s.Attach(linkOf(s.cfg, v, 9))
		m := &message.Message{Topic: []byte("t"), Payload: []byte("x"), QoS: 1}
		s.Supply(message.NewKey(2, 0), m)
		out, _ := s.Pump(nil, plenty, 0)
		expect(t, v, out)
		s.Supply(message.NewKey(1, 0), m)
		s.Supply(message.NewKey(9, 0), m) // nobody knows it
		out, _ = s.Pump(nil, plenty, 0)
		expect(t, v, out, "PUBLISH 1 q1 x", "PUBLISH 2 q1 x")
	})
	t.Run("a lost message is given up", func(t *testing.T) {
		s, j := waiting(2)
		s.Attach(linkOf(s.cfg, v, 9))
		s.Lost(message.NewKey(1, 0))
		j.wants(t, "finished 1")
		s.Lost(message.NewKey(9, 0))
		j.wants(t)
		expect(t, v, s.supplyAll(), "PUBLISH 1 q1 m2")
	})
	t.Run("a lost message that the client may have ends with PUBREL", func(t *testing.T) {
		s, j := stored(9)
		s.take(t, 1, 2, "a", Sent)
		s.Committed(5)
		s.Pump(nil, plenty, 0)
		s.rejoin(9)
		j.said = nil
		if w := s.Wanted(nil); len(w) != 1 {
			t.Fatalf("%d wanted", len(w))
		}
		s.Lost(message.NewKey(1, 0))
		j.wants(t, "released 1 as 1", "finished 1")
		out, _ := s.Pump(nil, plenty, 0)
		expect(t, v, out, "PUBREL 1")
		expect(t, v, s.take(t, 2, 1, "b", Sent), "PUBLISH 2 q1 b") // it holds nothing up
		answer(s, packet.PUBACK, 2, 0)
		answer(s, packet.PUBCOMP, 1, packet.PacketIdentifierNotFound)
		if j.wants(t, "finished 2", "ended 1"); s.Inflight() != 0 || s.Pending() {
			t.Errorf("%d under way", s.Inflight())
		}
	})
	t.Run("contents go when the client does", func(t *testing.T) {
		s, _ := waiting(10)
		s.Attach(linkOf(s.cfg, v, 1))
		s.supplyAll()
		s.Detach()
		for e := range s.queue.all {
			if e.m != nil {
				t.Fatal("the content of a waiting message stays in memory")
			}
		}
	})
}

// TestWaitingMemory measures what messages that wait for a stored session take:
// 32 bytes each at most, whatever their payloads.
func TestWaitingMemory(t *testing.T) {
	const messages, most = 100_000, 32
	for _, payload := range []int{0, 100, 10_000} {
		s, _ := stored(0)
		m := message.Message{Topic: []byte("some/topic"), Payload: make([]byte, payload), QoS: 1}
		before := heap()
		for i := range uint64(messages) {
			d := Delivery{Message: &Cloner{Borrowed: &m}, QoS: 1, Key: message.NewKey(i+1, 0), Sole: true}
			if _, o, _ := s.Deliver(nil, d, 0); o != Queued {
				t.Fatalf("outcome %d", o)
			}
		}
		each := float64(heap()-before) / messages
		t.Logf("payload of %5d bytes: %.1f bytes for each waiting message", payload, each)
		if each > most || each < 16 {
			t.Errorf("payload of %d bytes: a waiting message takes %.1f bytes, %d are allowed", payload, each, most)
		}
		if s.Queued() != messages {
			t.Fatalf("%d wait", s.Queued())
		}
	}
}

// heap is the number of bytes that are in use, garbage not counted.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
