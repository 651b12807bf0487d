package broker

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"midge/internal/packet"
	"midge/internal/settings"
	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// diskFault says which operations of a disk fail, and how.
type diskFault struct {
	name string
	err  error
	kind func(op errorfs.Op) bool
	once bool // one operation fails; otherwise all from there on, until repaired
	used bool // the disk has messages that wait when the history begins, so that there is something to read
}

func isWrite(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite }
func isSync(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
}

// needsRoom tells of operations that a full disk refuses; it takes an fsync of
// what it took before.
func needsRoom(op errorfs.Op) bool {
	return op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileWriteAt
}

var diskFaults = []diskFault{
	{name: "one write", err: syscall.EIO, kind: isWrite, once: true},
	{name: "all writes", err: syscall.EIO, kind: isWrite},
	{name: "one sync", err: syscall.EIO, kind: isSync, once: true},
	{name: "all syncs", err: syscall.EIO, kind: isSync},
	{name: "one read", err: syscall.EIO, kind: func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsRead }, once: true, used: true},
	{name: "all reads", err: syscall.EIO, kind: func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileReadAt }, used: true},
	{name: "full", err: syscall.ENOSPC, kind: needsRoom},
	{name: "no descriptors", err: syscall.EMFILE, kind: needsFile},
	{name: "no memory", err: syscall.ENOMEM, kind: func(op errorfs.Op) bool { return needsFile(op) || needsRoom(op) }},
}

// needsFile tells of operations that take a descriptor.
func needsFile(op errorfs.Op) bool {
	return op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpOpen || op.Kind == errorfs.OpOpenDir || op.Kind == errorfs.OpReuseForWrite || op.Kind == errorfs.OpList
}

// passes reports whether what it does ends by itself: the store waits for it.
func (f *diskFault) passes() bool { return !errors.Is(f.err, syscall.EIO) }

// TestFaultyDisk runs a broker on a disk that fails at each of its operations
// in turn, in a history that is always the same, and at operations of chance in
// random ones. Clients are told nothing that the next start can't keep; while
// nothing gets on disk they are refused clearly; what needs no disk goes on; and
// when a full disk has room again everything does.
//
// MIDGE_SEED and MIDGE_FAULT (the number of an operation) run one case only.
func TestFaultyDisk(t *testing.T) {
	one := number(t, "MIDGE_SEED")
	at := number(t, "MIDGE_FAULT")
	chance := rand.Uint64()
	t.Logf("random histories with seeds from %d", chance)
	for _, f := range diskFaults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			if one != 0 {
				runFaulty(t, one, f, int64(at))
				return
			}
			failed, n := 0, int64(0)
			for hit := true; hit && n < 5000; n++ {
				var broke bool
				hit, broke = runFaulty(t, 1, f, n)
				if broke {
					failed++
				}
			}
			r := rand.New(rand.NewPCG(chance, 1))
			for i := range uint64(20) {
				if _, broke := runFaulty(t, chance+i, f, r.Int64N(n)); broke {
					failed++
				}
			}
			t.Logf("operations up to %d, %d faults that the broker noticed", n, failed)
			if failed == 0 && f.name != "one read" { // that is tried again
				t.Error("the broker noticed no fault: the test proves nothing")
			}
		})
	}
}

// faultyDisk is a broker on such a disk, and what its clients know.
type faultyDisk struct {
	t     *testing.T
	what  string // for messages
	rand  *rand.Rand
	fault diskFault
	fs    *vfs.MemFS
	told  chan error // what the backend says of the disk

	member bool // messages for a shared subscription wait with a member

	backend  *pebblestore.Store
	health   *store.Health // what it reports
	st       *store.Store
	w        *world
	stepping chan struct{} // a step that waits for room, nil: none

	op, hits atomic.Int64
	repaired atomic.Bool

	pubs []*listener
	subs []*listener // with sessions that are stored
	mem  *listener   // whose session is not
	sent int
	// Of messages by number:
	owed     map[int]map[string]bool // acknowledged, and who must have it
	retained int                     // the last retained message that was acknowledged
}

func (f *faultyDisk) fail(format string, args ...any) {
	f.t.Helper()
	f.t.Fatalf("%s: %s", f.what, fmt.Sprintf(format, args...))
}

// runFaulty runs one history. It reports whether the operation came up, and
// whether the broker noticed that it failed.
func runFaulty(t *testing.T, seed uint64, fault diskFault, at int64) (hit, noticed bool) {
	t.Helper()
	f := &faultyDisk{
		t: t, what: fmt.Sprintf("MIDGE_SEED=%d MIDGE_FAULT=%d", seed, at), rand: rand.New(rand.NewPCG(seed, 1)), fault: fault,
		fs: vfs.NewCrashableMem(), told: make(chan error, 100), owed: map[int]map[string]bool{},
	}
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if f.repaired.Load() || !fault.kind(op) {
			return nil
		}
		if i := f.op.Add(1) - 1; i < at || fault.once && i > at {
			return nil
		}
		f.hits.Add(1)
		return fmt.Errorf("%w: %s", fault.err, op.Path)
	})
	disk := errorfs.Wrap(f.fs, inject)
	f.repaired.Store(fault.passes() || fault.used) // a start that waits is not what this is about
	begun := f.start(disk, 2)
	if fault.used {
		f.use()
		f.repaired.Store(false)
		begun = f.start(disk, 2)
	}
	if !begun {
		f.after()
		return true, true
	}
	f.repaired.Store(false)
	if f.mem == nil {
		f.clients()
	}
	f.connect()
	for range 60 {
		f.act()
	}
	noticed = f.st.Err() != nil
	if noticed {
		f.failing()
	}
	if f.stepping != nil {
		f.repair()
	}
	f.after()
	return f.hits.Load() > 0, noticed
}

// start starts a broker on a file system. It reports false if that can't be
// read.
func (f *faultyDisk) start(fs vfs.FS, shards int) bool {
	f.health = &store.Health{}
	report := func(err error) {
		f.health.Report(err)
		f.told <- err
	}
	backend, _, err := pebblestore.Open("data", pebblestore.Options{
		FS: fs, MemTableBytes: 32 << 10, CacheBytes: 1 << 10, Retry: time.Millisecond, Trouble: report,
	})
	if err != nil {
		return false
	}
	f.backend = backend
	if err := f.startOn(backend, shards); err != nil {
		backend.Close()
		return false
	}
	return true
}

// startOn starts a broker on a backend.
func (f *faultyDisk) startOn(backend store.Backend, shards int) error {
	stored := store.Config{Clock: store.NewClock(time.Unix(1_800_000_000, 0), 0), Health: f.health}
	cfg := quietly(shards)
	if f.member {
		cfg.Session.SharedQueue = settings.WithMember
	}
	f.w, f.st = storedWorld(f.t, backend, cfg, stored, 0, false)
	damaged, err := f.w.b.Load(0)
	if len(damaged) > 0 {
		f.fail("damaged: %v", damaged)
	}
	if err != nil {
		if f.hits.Load() == 0 {
			f.fail("load: %v", err)
		}
		return err
	}
	f.w.b.Start(f.w)
	return nil
}

// commit lets the store commit and read once, unless it waits for room.
func (f *faultyDisk) commit() {
	if f.stepping == nil {
		f.stepping = make(chan struct{})
		go func(done chan struct{}, st *store.Store) {
			st.Step()
			st.StepReads()
			close(done)
		}(f.stepping, f.st)
		for waits := false; f.stepping != nil && !waits; {
			select {
			case <-f.stepping:
				f.stepping = nil
			case <-f.told: // perhaps of what is over
				waits = f.st.Err() != nil && f.fault.passes()
			}
		}
	}
	f.turn()
}

// turn runs the broker and lets the clients read.
func (f *faultyDisk) turn() {
	for range 3 {
		f.w.turn()
		for _, l := range f.all() {
			l.read()
		}
	}
}

func (f *faultyDisk) all() []*listener {
	return append(append([]*listener{f.mem}, f.subs...), f.pubs...)
}

func (f *faultyDisk) listener(id string, v packet.Version, stored bool) *listener {
	return &listener{
		f: f, id: id, v: v, stored: stored, open: map[packet.ID]*posting{}, got: map[int]int{}, incoming: map[packet.ID]bool{},
	}
}

// clients makes everybody.
func (f *faultyDisk) clients() {
	f.mem = f.listener("memory", packet.V5, false)
	f.pubs = []*listener{
		f.listener("five", packet.V5, false), f.listener("three", packet.V311, false), f.listener("kept", packet.V5, true),
	}
	f.subs = []*listener{f.listener("one", packet.V5, true), f.listener("two", packet.V311, true)}
}

// connect connects everybody.
func (f *faultyDisk) connect() {
	for _, l := range f.all() {
		l.connect()
	}
	f.commit()
	f.mem.subscribe(1)
	f.subs[0].subscribe(1)
	f.subs[1].subscribe(2)
	f.commit()
}

// use runs a broker that leaves messages on the disk for clients that are away.
func (f *faultyDisk) use() {
	f.clients()
	f.connect()
	for _, l := range f.subs {
		l.leave()
	}
	for i := range 8 {
		f.pubs[0].publish(packet.QoS(1+i%2), false, i%3 == 0)
	}
	for range 3 {
		f.commit()
	}
	for _, l := range f.pubs {
		l.leave()
	}
	if err := f.backend.Close(); err != nil {
		f.fail("close: %v", err)
	}
}

// act lets a client do something.
func (f *faultyDisk) act() {
	r := f.rand
	switch n := r.IntN(10); {
	case n < 5:
		f.pubs[r.IntN(len(f.pubs))].publish(packet.QoS(r.IntN(3)), r.IntN(5) == 0, r.IntN(20) == 0)
	case n == 5:
		l := f.subs[r.IntN(2)]
		if l.p == nil {
			l.connect()
		} else {
			l.leave()
		}
	case n == 6:
		f.subs[r.IntN(2)].subscribe(packet.QoS(1 + r.IntN(2)))
	default:
		f.commit()
	}
	f.turn()
	f.alive()
}

// alive proves that the broker serves what needs no disk, whatever that does.
func (f *faultyDisk) alive() {
	pongs := f.mem.pongs
	f.mem.send(packet.Pingreq{}.Append(nil, f.mem.v))
	n := f.pubs[0].publish(0, false, false)
	f.turn()
	if f.mem.pongs != pongs+1 {
		f.fail("no PINGRESP")
	}
	if f.pubs[0].p != nil && f.pubs[0].joined && f.mem.got[n] != 1 {
		f.fail("QoS 0 message %d did not come to who listens", n)
	}
}

// failing proves that nothing durable is promised while nothing gets on disk.
func (f *faultyDisk) failing() {
	f.turn() // Pebble's goroutines may have noticed it just now
	if f.st.Failed() {
		for _, l := range f.pubs {
			if l.v == packet.V5 && l.p != nil && len(l.open) > 0 {
				f.fail("%s waits for ever for %d answers", l.id, len(l.open))
			}
		}
	}
	before := f.w.b.Counters().RefusedStore
	five, three := f.listener("new five", packet.V5, false), f.listener("new three", packet.V311, false)
	f.pubs = append(f.pubs, five, three)
	five.connect()
	three.connect()
	f.turn()
	if !five.joined || !three.joined {
		f.fail("clients without a durable session can't connect")
	}
	refusals := uint64(0)
	if f.subs[0].filter || f.subs[1].filter {
		refusals += 4
		for _, qos := range []packet.QoS{1, 2} {
			five.publish(qos, false, false)
			three.publish(qos, false, false)
			f.commit()
			if five.refused != int(qos) || len(five.open) != 0 {
				f.fail("QoS %d: %d messages refused of %d (MQTT 5.0)", qos, five.refused, qos)
			}
			if len(three.open) != int(qos) {
				f.fail("QoS %d: %d messages without an answer, want %d (MQTT 3.1.1)", qos, len(three.open), qos)
			}
		}
	}
	five.publish(1, true, false)
	f.turn()
	if len(five.open) != 0 || f.retained == f.sent {
		f.fail("a retained message was not refused")
	}
	for _, v := range []packet.Version{packet.V5, packet.V311} {
		l := f.listener(fmt.Sprint("late ", v), v, true)
		f.pubs = append(f.pubs, l)
		l.connect()
		f.commit()
		if l.joined || l.refused != 1 {
			f.fail("%v: CONNECT that wants a durable session was not refused", v)
		}
	}
	for _, l := range f.subs { // SUBACK refuses, or waits behind others that wait
		granted := l.granted
		l.subscribeTo("n/#", 1)
		f.commit()
		if l.granted != granted {
			f.fail("%s: a durable subscription was granted", l.id)
		}
	}
	mem := f.listener("other memory", packet.V5, false)
	f.pubs = append(f.pubs, mem)
	mem.connect()
	mem.subscribeTo("m/#", 1)
	mem.publishTo("m/x", 1, false, false)
	f.turn()
	if mem.got[f.sent] != 1 || len(mem.open) != 0 {
		f.fail("QoS 1 between clients in memory does not go on")
	}
	if got := f.w.b.Counters().RefusedStore - before; got < refusals+3 {
		f.fail("%d refusals counted, want %d", got, refusals+3)
	}
}

// repair gives a full disk room, and proves that everything goes on.
func (f *faultyDisk) repair() {
	f.repaired.Store(true)
	<-f.stepping
	f.stepping = nil
	for f.st.Err() != nil { // Pebble's goroutines wait, too
		<-f.told
	}
	for range 5 {
		f.commit()
	}
	if err := f.st.Err(); err != nil {
		f.fail("the disk has room again, and the store says %v", err)
	}
	for _, l := range f.pubs {
		if l.v == packet.V5 && len(l.open) > 0 {
			f.fail("%s: %d messages have no answer although the disk has room again", l.id, len(l.open))
		}
	}
	f.w.pass(maxWait) // who has connected too often in the meantime waits
	f.commit()
	for _, l := range f.subs {
		if l.p == nil {
			l.connect()
			f.commit()
		}
		if !l.joined {
			f.fail("%s can't connect although the disk has room again", l.id)
		}
		l.subscribe(1)
	}
	f.commit()
	refused := f.pubs[0].refused
	n := f.pubs[0].publish(1, false, false)
	for range 4 {
		f.commit()
	}
	if f.pubs[0].refused != refused || f.owed[n] == nil {
		f.fail("a message is not acknowledged although the disk has room again")
	}
	for _, l := range f.subs {
		if l.got[n] == 0 {
			f.fail("%s did not get a message although the disk has room again", l.id)
		}
	}
}

// after cuts the power and starts again on a disk that works, twice: with all
// that was not synced, and with nothing of it.
func (f *faultyDisk) after() {
	f.repaired.Store(true)
	var ends []*vfs.MemFS
	for _, percent := range []int{0, 100} {
		ends = append(ends, f.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 1))}))
	}
	if f.backend != nil {
		f.backend.Close() // whatever it says: the power is gone
	}
	for i, fs := range ends {
		next := &faultyDisk{t: f.t, what: fmt.Sprint(f.what, " start ", i), fs: fs, told: make(chan error, 100), owed: map[int]map[string]bool{}, sent: f.sent}
		if !next.start(fs, 3) {
			next.fail("the next start failed")
		}
		next.compare(f)
		if err := next.backend.Close(); err != nil {
			next.fail("close: %v", err)
		}
	}
}

// compare proves that everything is there that clients were told before.
func (f *faultyDisk) compare(old *faultyDisk) {
	f.mem = f.listener("reader", packet.V5, false)
	f.mem.connect()
	for _, was := range old.subs {
		l := f.listener(was.id, was.v, true)
		l.got, l.incoming, l.promised = maps.Clone(was.got), maps.Clone(was.incoming), was.promised
		l.filter = was.filter
		f.subs = append(f.subs, l)
		l.connect()
	}
	for range 40 {
		f.commit()
	}
	f.pubs = []*listener{f.listener("new", packet.V5, false)}
	f.pubs[0].connect()
	n := f.pubs[0].publish(1, false, false)
	for range 6 {
		f.commit()
	}
	for _, l := range f.subs {
		if l.filter && l.got[n] == 0 {
			f.fail("LOST: the subscription of %s", l.id)
		}
	}
	for n, owed := range old.owed {
		for _, l := range f.subs {
			if owed[l.id] && l.got[n] == 0 {
				f.fail("LOST: message %d was acknowledged and never came to %s", n, l.id)
			}
		}
	}
	f.mem.subscribeTo("r/#", 0)
	f.turn()
	if m := f.w.retained("r/x"); old.retained > 0 && (m == nil || value(m.Payload) < old.retained) {
		f.fail("LOST: retained message %d", old.retained)
	}
}
