package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/memstore"
	"midge/internal/store/pebblestore"
)

// machine is a computer with its clocks, a disk, and a broker now and then.
type machine struct {
	t    *testing.T
	disk disk
	w    *world
	wall time.Time // when the engine's clock shows 0
	boot string    // "": the system does not tell
	up   time.Duration
}

// disk keeps what a killed broker leaves.
type disk interface {
	open(t *testing.T) store.Backend
	kill(t *testing.T)
}

type memoryDisk struct{ *memstore.Store }

func (d memoryDisk) open(*testing.T) store.Backend { return d.Store }
func (d memoryDisk) kill(*testing.T)               {}

type pebbleDisk struct {
	fs *vfs.MemFS
	b  *pebblestore.Store
}

func (d *pebbleDisk) open(t *testing.T) store.Backend {
	t.Helper()
	b, _, err := pebblestore.Open("data", pebblestore.Options{FS: d.fs, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	d.b = b
	return b
}

func (d *pebbleDisk) kill(t *testing.T) {
	t.Helper()
	left := d.fs.CrashClone(vfs.CrashCloneCfg{})
	if err := d.b.Close(); err != nil {
		t.Fatal(err)
	}
	d.fs = left
}

func (m *machine) read() store.Reading {
	r := store.Reading{Engine: m.w.now, Wall: m.wall.Add(m.w.now)}
	if m.boot != "" {
		r.Boot, r.Up = m.boot, m.up+m.w.now
	}
	return r
}

// start starts a broker.
func (m *machine) start() *world {
	m.t.Helper()
	const now = time.Second
	m.w = &world{now: now} // for read
	m.w, _ = storedWorld(m.t, m.disk.open(m.t), quietly(2), store.Config{Clock: m.read}, now, true)
	m.w.load(0)
	m.w.turn()
	return m.w
}

// kill ends it, at once.
func (m *machine) kill() {
	m.disk.kill(m.t)
	m.wall, m.up = m.wall.Add(m.w.now-time.Second), m.up+m.w.now-time.Second // the next engine begins at 1 s
}

func (m *machine) off(d time.Duration) { m.wall, m.up = m.wall.Add(d), m.up+d }

func (m *machine) reboot() {
	m.up = 0
	if m.boot != "" {
		m.boot += "'"
	}
}

// live lets a busy broker run for some time.
func (m *machine) live(d time.Duration) {
	p := m.w.connect(packet.V5, "beat")
	for end := m.w.now + d; m.w.now < end; {
		m.w.now += min(time.Second, end-m.w.now)
		p.publish("beat", "x", 1, true)
		p.next(packet.PUBACK)
	}
	p.hang()
}

const year = 365 * 24 * time.Hour

// stepping is a history of clocks. Each of two lives is of 100 seconds at least,
// with 100 seconds between them.
type stepping struct {
	name    string
	wall    time.Time // at first
	noBoot  bool      // the system does not tell boots apart
	first   time.Duration
	between func(m *machine)
	second  time.Duration // set by so much in the second life
	unknown bool          // the downtime can't be known
}

func steppings() []stepping {
	right, epoch := time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC), time.Unix(100, 0)
	toRight := right.Sub(epoch)
	set := func(d time.Duration) func(*machine) { return func(m *machine) { m.wall = m.wall.Add(d) } }
	boot := func(d time.Duration) func(*machine) {
		return func(m *machine) {
			m.reboot()
			m.wall = m.wall.Add(d)
		}
	}
	none := func(*machine) {}
	return []stepping{
		{"right", right, false, 0, none, 0, false},
		{"set forward in the first life", right, false, 20 * year, none, 0, false},
		{"set back in the first life", right, false, -20 * year, none, 0, false},
		{"set forward in the second life", right, false, 0, none, 20 * year, false},
		{"set back in the second life", right, false, 0, none, -20 * year, false},
		{"set forward between", right, false, 0, set(20 * year), 0, false},
		{"set back between", right, false, 0, set(-20 * year), 0, false},
		{"a little forward between", right, false, 0, set(time.Hour), 0, false},
		{"no battery, right in the first life", epoch, false, toRight, none, 0, false},
		{"no battery, right between", epoch, false, 0, set(toRight), 0, false},
		{"no battery, right in the second life", epoch, false, 0, none, toRight, false},
		{"reboot", right, false, 0, boot(0), 0, false},
		{"reboot, set forward in the first life", right.Add(-year), false, year, boot(0), 0, false},
		{"reboot, set back in the first life", right.Add(year), false, -year, boot(0), 0, false},
		{"reboot without battery", right, false, 0, boot(-toRight), toRight, true},
		{"reboot with battery, none before", epoch, false, 0, boot(toRight), 0, true},
		{"never a battery", epoch, false, 0, boot(-50 * time.Second), 0, true},
		{"reboot, years ahead", right, false, 0, boot(20 * year), -20 * year, true},
		{"reboot, an hour back", right, false, 0, boot(-time.Hour), time.Hour, true},
		{"unknown boots", right, true, 0, none, 0, false},
		{"unknown boots, set forward in the first life", right.Add(-year), true, year, none, 0, false},
		{"unknown boots, set back in the first life", right.Add(year), true, -year, none, 0, false},
		{"unknown boots, set back between", right, true, 0, set(-20 * year), 0, true},
		{"unknown boots, set forward between", right, true, 0, set(20 * year), 0, true},
		{"unknown boots, no battery", epoch, true, 0, set(toRight), 0, true},
	}
}

// TestClockSteps sets the time of day before, during and after a stop, and by
// whatever it was set, what was to end in 600 seconds does so when the broker
// has run, and was known to be down, for so long: a session, messages that wait
// or are in flight, a retained one, and the delay of a will. A message is never
// told to live longer than was asked for.
func TestClockSteps(t *testing.T) {
	for _, on := range []string{"memory", "pebble"} {
		for _, k := range steppings() {
			for _, probe := range []time.Duration{300, 590, 610} {
				t.Run(fmt.Sprint(on, "/", k.name, "/", int(probe)), func(t *testing.T) {
					m := &machine{t: t, wall: k.wall, boot: "a", up: time.Hour, disk: memoryDisk{memstore.New()}}
					if on == "pebble" {
						m.disk = &pebbleDisk{fs: vfs.NewCrashableMem()}
					}
					if k.noBoot {
						m.boot = ""
					}
					k.run(m, probe*time.Second)
				})
			}
		}
	}
}

const sixHundred = 600

// run goes through both lives, and looks what there is when some time has
// passed, as far as that can be known.
func (k *stepping) run(m *machine, probe time.Duration) {
	w := m.start()
	w.turn()
	setUp(m)
	began := w.now
	m.live(50 * time.Second)
	m.wall = m.wall.Add(k.first)
	m.live(50 * time.Second)
	passed := w.now - began
	m.kill()
	m.off(100 * time.Second)
	if !k.unknown {
		passed += 100 * time.Second
	}
	k.between(m)

	w = m.start()
	m.wall = m.wall.Add(k.second)
	ear := w.connect(packet.V5, "ear")
	ear.subscribe("will", 0)
	w.now += probe - passed
	w.turn()
	lookAround(m, ear, probe)
}

// setUp makes things that end in 600 seconds.
func setUp(m *machine) {
	w := m.w
	reader, _, _ := w.join("reader", expires(never))
	reader.subscribe("q/#", 2)
	p := w.connect(packet.V5, "p")
	p.send("q/flight", "1", false, sixHundred) // in flight, unanswered
	reader.hang()
	p.send("q/small", "1", false, sixHundred)
	p.send("q/large", string(make([]byte, 2*store.SeparateBytes)), false, sixHundred)
	p.send("r", "1", true, sixHundred)
	p.hang()
	s, _, _ := w.join("ends", expires(sixHundred))
	s.hang()
	ill, _, _ := w.join("ill", expires(3600), withWill(sixHundred))
	ill.hang()
}

// lookAround compares what is there with the time that has passed.
func lookAround(m *machine, ear *peer, passed time.Duration) {
	t, w, over := m.t, m.w, passed > sixHundred*time.Second
	t.Helper()
	if _, fired := ear.message(); fired != over {
		t.Errorf("after %v the will was published: %v", passed, fired)
	}
	if _, present, _ := w.join("ends", expires(sixHundred)); present == over {
		t.Errorf("after %v the session is there: %v", passed, present)
	}
	got := map[string]packet.Publish{}
	q := w.connect(packet.V5, "q")
	q.subscribe("r", 0)
	if p, ok := q.message(); ok {
		got["r"] = p
	}
	reader, present, _ := w.join("reader", expires(never))
	if !present {
		t.Error("a session that never ends has ended")
	}
	for range 5 {
		w.turn()
		for p, ok := reader.message(); ok; p, ok = reader.message() {
			got[string(p.Topic)] = p
		}
	}
	for _, topic := range []string{"q/flight", "q/small", "q/large", "r"} {
		p, there := got[topic]
		if there == over {
			t.Errorf("after %v the message to %s is there: %v", passed, topic, there)
		}
		if !there {
			continue
		}
		left := sixHundred - int(passed/time.Second)
		if e := int(p.Properties.MessageExpiry); !p.Properties.HasExpiry || e < left-2 || e > left+2 || e > sixHundred {
			t.Errorf("after %v the message to %s has %d seconds left, want %d", passed, topic, e, left)
		}
	}
}
