package broker

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/memstore"
	"midge/internal/store/pebblestore"
)

// diskFault says which operations of a disk fail, and how.
type diskFault struct {
	name string
	err  error
	kind func(op errorfs.Op) bool
	once bool // one operation fails; otherwise all from there on, until repaired
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
	{"one write", syscall.EIO, isWrite, true},
	{"all writes", syscall.EIO, isWrite, false},
	{"one sync", syscall.EIO, isSync, true},
	{"all syncs", syscall.EIO, isSync, false},
	{"one read", syscall.EIO, func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsRead }, true},
	{"all reads", syscall.EIO, func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileReadAt }, false},
	{"full", syscall.ENOSPC, needsRoom, false},
	{"no descriptors", syscall.EMFILE, needsFile, false},
	{"no memory", syscall.ENOMEM, func(op errorfs.Op) bool { return needsFile(op) || needsRoom(op) }, false},
}

// needsFile tells of operations that take a descriptor.
func needsFile(op errorfs.Op) bool {
	return op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpOpen || op.Kind == errorfs.OpOpenDir || op.Kind == errorfs.OpReuseForWrite || op.Kind == errorfs.OpList
}

// passes tells whether what it does ends by itself: the store waits for it.
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

func number(t *testing.T, name string) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// faultyDisk is a broker on such a disk, and what its clients know.
type faultyDisk struct {
	t     *testing.T
	what  string // for messages
	rand  *rand.Rand
	fault diskFault
	fs    *vfs.MemFS
	told  chan error // what the backend says of the disk

	backend  *pebblestore.Store
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

// listener is a client.
type listener struct {
	f        *faultyDisk
	id       string
	v        packet.Version
	stored   bool
	p        *peer
	joined   bool
	promised bool // the session
	filter   bool // SUBACK has come, and did not refuse
	nextID   packet.ID
	open     map[packet.ID]*posting
	got      map[int]int
	incoming map[packet.ID]bool
	granted  int // SUBACK that did not refuse
	refused  int // PUBACK, PUBREC, SUBACK and CONNACK with Quota exceeded
	pongs    int
}

// posting is a message that was sent and not acknowledged.
type posting struct {
	n      int
	retain bool
	owed   map[string]bool
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
	if fault.passes() { // a start that waits is not what this is about
		f.repaired.Store(true)
	}
	if !f.start(errorfs.Wrap(f.fs, inject), 2) {
		f.after()
		return true, true
	}
	f.repaired.Store(false)
	f.clients()
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
	var kept atomic.Pointer[store.Store]
	backend, _, err := pebblestore.Open("data", pebblestore.Options{FS: fs, MemTableBytes: 32 << 10, CacheBytes: 1 << 10, Retry: time.Millisecond, Trouble: func(err error) {
		if st := kept.Load(); st != nil {
			st.Trouble(err)
		}
		f.told <- err
	}})
	if err != nil {
		return false
	}
	f.backend = backend
	if err := f.startOn(backend, shards); err != nil {
		backend.Close()
		return false
	}
	kept.Store(f.st)
	return true
}

// startOn starts a broker on a backend.
func (f *faultyDisk) startOn(backend store.Backend, shards int) error {
	stored := store.Config{Clock: store.NewClock(time.Unix(1_800_000_000, 0), 0)}
	f.w, f.st = storedWorld(f.t, backend, Config{Shards: shards, Sys: -1}, stored, 0, false)
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
			case err := <-f.told:
				waits = err != nil && f.fault.passes()
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

// clients connects everybody.
func (f *faultyDisk) clients() {
	f.mem = f.listener("memory", packet.V5, false)
	f.pubs = []*listener{
		f.listener("five", packet.V5, false), f.listener("three", packet.V311, false), f.listener("kept", packet.V5, true),
	}
	f.subs = []*listener{f.listener("one", packet.V5, true), f.listener("two", packet.V311, true)}
	for _, l := range f.all() {
		l.connect()
	}
	f.commit()
	f.mem.subscribe(1)
	f.subs[0].subscribe(1)
	f.subs[1].subscribe(2)
	f.commit()
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
	f.w.pass(mostWait) // who has connected too often in the meantime waits
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
	if m, ok := f.w.b.retained.messages.Get([]byte("r/x")); old.retained > 0 && (!ok || value(m.Payload) < old.retained) {
		f.fail("LOST: retained message %d", old.retained)
	}
}

func value(payload []byte) int {
	n, _ := strconv.Atoi(string(payload[:min(len(payload), 6)]))
	return n
}

func (l *listener) send(b []byte) {
	if l.p != nil && !l.p.closed {
		l.p.in = append(l.p.in, b...)
		if !l.p.paused {
			l.p.offer()
		}
	}
}

func (l *listener) connect() {
	l.p = l.f.w.dial(l.v)
	c := packet.Connect{Version: l.v, ClientID: []byte(l.id), CleanStart: !l.stored}
	if l.stored && l.v == packet.V5 {
		c.Properties.SessionExpiry = never
		c.Properties.Set(packet.PropSessionExpiry)
	}
	l.joined = false
	l.send(c.Append(nil))
	l.f.turn()
}

func (l *listener) leave() {
	l.read()
	l.send((&packet.Disconnect{}).Append(nil, l.v))
	l.f.w.turn()
	l.p, l.joined = nil, false
	clear(l.open)
}

func (l *listener) subscribe(qos packet.QoS) { l.subscribeTo("t/#", qos) }

func (l *listener) subscribeTo(filter string, qos packet.QoS) {
	if l.p != nil && l.joined {
		s := packet.Subscribe{ID: 60_000, Subscriptions: []packet.Subscription{{Filter: []byte(filter), QoS: qos}}}
		l.send(s.Append(nil, l.v))
	}
}

func (l *listener) publish(qos packet.QoS, retain, large bool) int {
	if retain && qos > 0 {
		return l.publishTo("r/x", qos, true, large)
	}
	return l.publishTo("t/x", qos, false, large)
}

// publishTo publishes a message and returns its number.
func (l *listener) publishTo(name string, qos packet.QoS, retain, large bool) int {
	f := l.f
	if l.p == nil || !l.joined || len(l.open) > 20 {
		return 0
	}
	f.sent++
	text := fmt.Sprintf("%06d", f.sent)
	if large { // lies apart on disk
		text += string(make([]byte, 20_000))
	}
	m := packet.Publish{QoS: qos, Retain: retain, Topic: []byte(name), Payload: []byte(text)}
	if qos > 0 {
		l.nextID++
		m.ID = l.nextID
		owed := map[string]bool{}
		for _, to := range f.subs {
			owed[to.id] = to.filter && name == "t/x"
		}
		l.open[m.ID] = &posting{f.sent, retain, owed}
	}
	l.send(m.Append(nil, l.v))
	return f.sent
}

// read takes what has come, and answers it.
func (l *listener) read() {
	for l.p != nil && len(l.p.out) > 0 {
		first, body, size, err := packet.Split(l.p.out, packet.MaxSize)
		if err != nil || size == 0 {
			l.f.fail("%s got % x", l.id, l.p.out)
		}
		body = append([]byte(nil), body...)
		l.p.out = l.p.out[size:]
		l.packet(first, body)
		if l.p != nil && l.p.closed && len(l.p.out) == 0 {
			l.p, l.joined = nil, false
		}
	}
}

func (l *listener) packet(first byte, body []byte) {
	must := func(err error) {
		if err != nil {
			l.f.fail("%s: %v", l.id, err)
		}
	}
	switch packet.TypeOf(first) {
	case packet.CONNACK:
		var c packet.Connack
		must(c.Decode(l.v, first, body))
		l.welcome(&c)
	case packet.PUBLISH:
		var m packet.Publish
		must(m.Decode(l.v, first, body))
		l.receive(&m)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		var k packet.Ack
		must(k.Decode(l.v, first, body))
		l.ack(&k)
	case packet.SUBACK:
		var k packet.Suback
		must(k.Decode(l.v, first, body))
		if k.Codes[0].Failed() {
			l.refused++
		} else {
			l.filter = true
			l.granted++
		}
	case packet.PINGRESP:
		l.pongs++
	case packet.DISCONNECT:
		var d packet.Disconnect
		must(d.Decode(l.v, first, body))
		if d.Code != packet.QuotaExceeded || !l.f.st.Failed() {
			l.f.fail("%s: DISCONNECT %v although the disk says %v", l.id, d.Code, l.f.st.Err())
		}
	default:
		l.f.fail("%s got %v % x", l.id, packet.TypeOf(first), body)
	}
}

func (l *listener) welcome(c *packet.Connack) {
	if c.Code != packet.Success {
		if want := packet.QuotaExceeded; l.v == packet.V5 && c.Code != want || l.f.st.Err() == nil {
			l.f.fail("%s: CONNACK %v although the disk says %v", l.id, c.Code, l.f.st.Err())
		}
		l.refused++
		return
	}
	if l.promised && !c.SessionPresent {
		l.f.fail("LOST: the session of %s", l.id)
	}
	l.joined, l.promised = true, l.stored
}

func (l *listener) receive(m *packet.Publish) {
	if m.QoS == 2 {
		l.send((&packet.Ack{Type: packet.PUBREC, ID: m.ID}).Append(nil, l.v))
		if l.incoming[m.ID] {
			return
		}
		l.incoming[m.ID] = true
		if n := value(m.Payload); l.got[n] > 0 {
			l.f.fail("TWICE: QoS 2 message %d came to %s again", n, l.id)
		}
	}
	l.got[value(m.Payload)]++
	if m.QoS == 1 {
		l.send((&packet.Ack{Type: packet.PUBACK, ID: m.ID}).Append(nil, l.v))
	}
}

func (l *listener) ack(k *packet.Ack) {
	switch k.Type {
	case packet.PUBREL:
		delete(l.incoming, k.ID)
		l.send((&packet.Ack{Type: packet.PUBCOMP, ID: k.ID}).Append(nil, l.v))
		return
	case packet.PUBCOMP:
		return
	}
	s := l.open[k.ID]
	delete(l.open, k.ID)
	switch {
	case s == nil:
		l.f.fail("%s: %v %d for nothing", l.id, k.Type, k.ID)
	case k.Code == packet.QuotaExceeded:
		l.refused++
	case k.Code.Failed():
		l.f.fail("%s: %v with %v", l.id, k.Type, k.Code)
	default:
		l.f.owed[s.n] = s.owed
		if s.retain {
			l.f.retained = max(l.f.retained, s.n)
		}
		if k.Type == packet.PUBREC {
			l.send((&packet.Ack{Type: packet.PUBREL, ID: k.ID}).Append(nil, l.v))
		}
	}
}

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
// stay where they are.
func TestUnreadableGroup(t *testing.T) {
	const messages = 8
	for bad := 1; bad <= messages; bad++ {
		for _, damaged := range []bool{false, true} {
			kept := memstore.New()
			backend := &unreadable{Backend: kept, err: syscall.EIO, bad: bad}
			if damaged {
				backend.err, backend.once = fmt.Errorf("block 3: %w", store.ErrDamaged), true
			}
			f := &faultyDisk{
				t: t, what: fmt.Sprintf("read %d, %v", bad, backend.err), rand: rand.New(rand.NewPCG(1, 1)), told: make(chan error, 1),
				owed: map[int]map[string]bool{},
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
				continue
			}
			records := 0
			if err := kept.Scan([]byte("r"), []byte("s"), func(_, _ []byte) error { records++; return nil }); err != nil || records != messages {
				f.fail("%d of %d messages are left, %v", records, messages, err)
			}
		}
	}
}
