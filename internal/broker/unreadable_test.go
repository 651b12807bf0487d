package broker

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"syscall"
	"testing"

	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/memstore"
	"midge/internal/store/pebblestore"
)

// unreadable is a store on which the contents of some messages can't be read.
type unreadable struct {
	store.Backend
	err   error
	reads int
	bad   int // the number of the read that fails, as do those after it unless once is set
	once  bool
}

func (b *unreadable) Get(dst, key []byte) ([]byte, error) {
	b.reads++
	if b.reads == b.bad || b.reads > b.bad && !b.once {
		return dst, b.err
	}
	return b.Backend.Get(dst, key)
}

// waiting is a broker on such a store, on which messages wait for a client.
func waiting(t *testing.T, b *unreadable, qos packet.QoS, messages int) (f *faultyDisk, sub *listener) {
	f = &faultyDisk{
		t: t, what: fmt.Sprintf("read %d, QoS %d, %v", b.bad, qos, b.err), rand: rand.New(rand.NewPCG(1, 1)), told: make(chan error, 1),
		owed: map[int]map[string]bool{},
	}
	f.startOn(b, 2)
	f.mem = f.listener("publisher", packet.V5, false)
	sub = f.listener("sub", packet.V5, true)
	f.subs = []*listener{sub}
	f.mem.connect()
	sub.connect()
	f.commit()
	sub.subscribe(qos)
	f.commit()
	sub.leave()
	for i := range messages {
		f.mem.publish(qos, false, i%4 == 3)
		f.commit()
	}
	return f, sub
}

// TestDamagedMessages makes each read of a waiting message meet damage in turn.
// The message is dropped and counted, the others come, and nothing of it stays on
// disk.
func TestDamagedMessages(t *testing.T) {
	const messages = 12
	for bad := 1; bad <= messages; bad++ {
		for _, qos := range []packet.QoS{1, 2} {
			backend := &unreadable{Backend: memstore.New(), err: fmt.Errorf("block 3: %w", store.ErrDamaged), bad: bad, once: true}
			f, sub := waiting(t, backend, qos, messages)
			sub.connect()
			for range 3 * messages {
				f.commit()
			}
			if len(sub.got) != messages-1 || f.w.b.Counters().DroppedDamaged != 1 {
				f.fail("%d of %d messages came, %d dropped as damaged", len(sub.got), messages, f.w.b.Counters().DroppedDamaged)
			}
			n := f.mem.publish(qos, false, false)
			for range 4 {
				f.commit()
			}
			if sub.got[n] != 1 {
				f.fail("the next message did not come")
			}
			f.st.Sync()
			for _, kind := range "imrux" {
				err := backend.Scan([]byte{byte(kind)}, []byte{byte(kind) + 1}, func(key, _ []byte) error {
					return fmt.Errorf("record %q is left", key)
				})
				if err != nil {
					f.fail("%v", err)
				}
			}
		}
	}
}

// TestUnreadableMessages has the disk read no more from each read of a waiting
// message on, for a reason that says nothing about the message. None is dropped:
// the store has failed, and after the next start all come that had not.
func TestUnreadableMessages(t *testing.T) {
	const messages = 12
	for bad := 1; bad <= messages; bad++ {
		for _, err := range []error{syscall.EIO, syscall.EMFILE, syscall.ENOMEM, pebblestore.ErrClosed} {
			for _, qos := range []packet.QoS{1, 2} {
				kept := memstore.New()
				f, sub := waiting(t, &unreadable{Backend: kept, err: err, bad: bad}, qos, messages)
				sub.connect()
				for range 3 * messages {
					f.commit()
				}
				if n := f.w.b.Counters().DroppedDamaged; n != 0 || len(sub.got) >= messages {
					f.fail("%d messages came, %d dropped as damaged", len(sub.got), n)
				}
				if !f.st.Failed() || f.st.Err() == nil {
					f.fail("the store does not say that it has failed")
				}
				next := &faultyDisk{t: t, what: f.what, rand: f.rand, told: make(chan error, 1), owed: map[int]map[string]bool{}}
				next.startOn(kept, 3)
				next.mem = next.listener("publisher", packet.V5, false)
				again := next.listener("sub", packet.V5, true)
				again.got, again.incoming, again.promised = maps.Clone(sub.got), maps.Clone(sub.incoming), true
				next.subs = []*listener{again}
				again.connect()
				for range 3 * messages {
					next.commit()
				}
				if len(again.got) != messages {
					next.fail("LOST: %d of %d messages came", len(again.got), messages)
				}
			}
		}
	}
}

// TestUnreadableGroup does so to the messages of a shared subscription whose
// member ends its session, and that go to another: those that cannot be read
// stay where they are. The messages wait with the group, or with the member.
func TestUnreadableGroup(t *testing.T) {
	for bad := 1; bad <= unreadableInGroup; bad++ {
		for _, damaged := range []bool{false, true} {
			unreadableGroup(t, bad, damaged, false)
			unreadableGroup(t, bad, damaged, true)
		}
	}
}

const unreadableInGroup = 8 // messages

func unreadableGroup(t *testing.T, bad int, damaged, member bool) {
	const messages = unreadableInGroup
	kept := memstore.New()
	backend := &unreadable{Backend: kept, err: syscall.EIO, bad: bad}
	if damaged {
		backend.err, backend.once = fmt.Errorf("block 3: %w", store.ErrDamaged), true
	}
	f := &faultyDisk{
		t: t, what: fmt.Sprintf("read %d, %v, wait with a member: %v", bad, backend.err, member), rand: rand.New(rand.NewPCG(1, 1)), told: make(chan error, 1),
		owed: map[int]map[string]bool{}, member: member,
	}
	f.startOn(backend, 2)
	f.mem = f.listener("publisher", packet.V5, false)
	one, two := f.listener("one", packet.V5, true), f.listener("two", packet.V5, true)
	f.subs = []*listener{one, two}
	f.mem.connect()
	one.connect()
	f.commit()
	one.subscribeTo("$share/g/t/#", 1)
	f.commit()
	one.leave()
	for i := range messages {
		f.mem.publish(1, false, i%4 == 3)
		f.commit()
	}
	two.connect()
	f.commit()
	two.subscribeTo("$share/g/t/#", 1)
	f.commit()
	clean := f.listener("one", packet.V5, false) // Clean Start: the session ends
	f.subs = append(f.subs, clean)
	clean.connect()
	for range 3 * messages {
		f.commit()
	}
	lost := 0
	if damaged {
		lost = 1
	}
	if n := f.w.b.Counters().DroppedDamaged; n != uint64(lost) {
		f.fail("%d messages dropped as damaged, want %d", n, lost)
	}
	if f.st.Failed() == damaged {
		f.fail("the store says failed: %v", !damaged)
	}
	if damaged {
		if len(two.got) != messages-lost {
			f.fail("%d of %d messages came", len(two.got), messages-lost)
		}
		return
	}
	records := 0
	if err := kept.Scan([]byte("r"), []byte("s"), func(_, _ []byte) error { records++; return nil }); err != nil || records != messages {
		f.fail("%d of %d messages are left, %v", records, messages, err)
	}
}
