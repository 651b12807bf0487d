package broker

import (
	"errors"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/memstore"
)

// sysWorld begins a broker on what backend has, with a disk of some figures.
func sysWorld(t *testing.T, backend store.Backend, damaged int) (*world, *store.Store) {
	t.Helper()
	cfg := quietly(2)
	cfg.Sys.Interval, cfg.Disk = time.Second, func() Disk {
		return Disk{Bytes: 4711, LogBytes: 42, Quarantines: 1}
	}
	w, st := storedWorld(t, backend, cfg, store.Config{Clock: store.NewClock(time.Now(), 0)}, 0, true)
	w.load(damaged)
	return w, st
}

// TestSysStore follows what $SYS says of the store while a message waits on
// disk, while the disk is full, and over a restart.
func TestSysStore(t *testing.T) {
	backend := memstore.New()
	damaged := 0
	begin := func() (*world, *store.Store) { return sysWorld(t, backend, damaged) }
	says := func(w *world, name, want string) {
		t.Helper()
		w.pass(1100 * time.Millisecond)
		got := "no message"
		for _, m := range w.matches(sysPrefix + name) {
			got = string(m.Payload)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	persistent := func(c *packet.Connect) {
		c.CleanStart = false
		c.Properties.SessionExpiry = 3600
		c.Properties.Set(packet.PropSessionExpiry)
	}

	w, st := begin()
	for name, want := range map[string]string{
		"store/status": "ok", "store/trouble": "none", "store/queued/count": "0", "store/queued/bytes": "0", "store/backlog/bytes": "0",
		"refused/store": "0", "store/damaged": "0", "store/disk/bytes": "4711", "store/disk/log/bytes": "42", "store/quarantines": "1",
	} {
		says(w, name, want)
	}
	sub := w.connect(packet.V5, "sub", persistent)
	sub.subscribe("a", 1)
	sub.hang()
	pub := w.connect(packet.V5, "pub")
	pub.publish("a", "kept", 1, false)
	if code := pub.next(packet.PUBACK); code == nil {
		t.Fatal("no PUBACK")
	}
	says(w, "store/queued/count", "1")
	if st.Stats().Syncs == 0 {
		t.Fatal("nothing was synced")
	}

	w.pass(1100 * time.Millisecond)
	pub.publish("retained", "x", 1, true)
	pub.next(packet.PUBACK)
	says(w, "store/commits/turns", "1.0")
	says(w, "store/commits/turns", "1.0") // while nothing is committed, that of the last time

	full := errors.New("no room on the disk")
	st.Report(full)
	w.b.StoreChanged()
	pub.publish("a", "refused", 1, false)
	if body := pub.next(packet.PUBACK); len(body) < 3 || body[2] != byte(packet.QuotaExceeded) {
		t.Errorf("PUBACK %x, want 0x97", body)
	}
	says(w, "store/status", full.Error())
	says(w, "refused/store", "1")
	st.Report(nil)
	w.b.StoreChanged()
	says(w, "store/status", "ok")
	says(w, "store/trouble", full.Error())

	w, _ = begin()
	says(w, "store/queued/count", "1")
	sub = w.connect(packet.V5, "sub", persistent)
	sub.want("kept")
	says(w, "store/queued/count", "0")
	says(w, "store/queued/bytes", "0")

	var nonsense store.Changes
	nonsense.Set([]byte("s\x00\x00\x00\x00\x00\x00\x00\x07"), []byte("\xff"))
	if err := backend.Commit(true, &nonsense); err != nil {
		t.Fatal(err)
	}
	damaged = 1
	w, _ = begin()
	says(w, "store/damaged", "1")
}
