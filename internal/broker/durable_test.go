package broker

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"midge/internal/message"
	"midge/internal/store"
	"midge/internal/store/memstore"
)

// notebook is a Store that counts turns, and writes none.
type notebook struct {
	Store
	seq, turns uint64
	busy       bool
	err        error
}

func (n *notebook) NextSeq() uint64                { n.seq++; return n.seq }
func (n *notebook) Submit(int, *store.Turn) uint64 { n.turns++; return n.turns }
func (n *notebook) Busy() bool                     { return n.busy }
func (n *notebook) Err() error                     { return n.err }

func newNotebook(t *testing.T) *notebook {
	_, st := onStore(t, memstore.New(), time.Unix(1_800_000_000, 0), true)
	return &notebook{Store: st}
}

// TestDurableTurns proves that a promise waits for the turn that has all that was
// written before it, and is kept at once when that is committed.
func TestDurableTurns(t *testing.T) {
	var d durable
	n := newNotebook(t)
	d.init(n, 0, &Counters{}, slog.New(slog.DiscardHandler))
	if now, _ := d.promise(promise{then: func() {}}); !now {
		t.Error("nothing was written, and a promise waits")
	}
	d.turn().DeleteSession(1)
	if now, _ := d.promise(promise{then: func() {}}); now || !d.filling.Urgent || d.lastTurn() != 1 {
		t.Error("a promise does not wait for what was written, or the turn is not urgent")
	}
	d.submit(nil)
	if d.filling != nil || n.turns != 1 || d.promises.due(d.committed.Load()) {
		t.Error("the turn was not submitted, or its promise is due before it is committed")
	}
	if now, _ := d.promise(promise{then: func() {}}); now {
		t.Error("a promise does not wait for a turn that was submitted")
	}
	d.committed.Store(1)
	for range 2 {
		if !d.promises.due(d.committed.Load()) {
			t.Fatal("a promise is not due")
		}
		if now, _ := d.promise(promise{then: func() {}}); now {
			t.Error("a promise is kept before an earlier one")
		}
		d.promises.take()
	}
	d.submit(nil) // empty
	if n.turns != 1 {
		t.Error("an empty turn was submitted")
	}
	if n.busy = true; !d.busy() {
		t.Error("it is not busy")
	}
	if n.err = errors.New("full"); d.busy() || d.failing() == nil {
		t.Error("while nothing gets on disk it is not busy, but failing")
	}
}

// TestDurableReceivers finishes a message for one receiver after the other: its
// record goes with the last.
func TestDurableReceivers(t *testing.T) {
	var d durable
	var count Counters
	d.init(newNotebook(t), 0, &count, slog.New(slog.DiscardHandler))
	m := &message.Message{Topic: []byte("t"), Payload: []byte("x"), QoS: 1}
	if d.putReceivers(0, m, 0) != 0 || d.filling != nil {
		t.Error("a message for nobody is written")
	}
	key := d.putReceivers(3, m, 0)
	stored := message.Stored{Key: key, Size: m.Size()}
	if key == 0 || count.Stored != 3 || d.remaining[key]&remainingCount != 3 {
		t.Fatalf("key %d, %d stored, %d receivers", key, count.Stored, d.remaining[key])
	}
	d.Finish(1, stored)
	d.Finish(2, stored)
	if len(d.done[key]) != 2 || d.remaining[key]&remainingCount != 1 {
		t.Error("two receivers are not done")
	}
	d.submit(nil)
	if len(d.done) != 0 || d.remaining[key]&hasLists == 0 {
		t.Error("who is done is not written")
	}
	d.Finish(3, stored)
	if len(d.remaining) != 0 || count.Stored != 0 {
		t.Error("the record is still there")
	}
	sole := message.Stored{Key: d.putReceivers(1, m, 0), Size: m.Size(), Sole: true}
	if d.Finish(1, sole); len(d.remaining) != 0 || count.Stored != 0 {
		t.Error("the record for one receiver is still there")
	}
}
