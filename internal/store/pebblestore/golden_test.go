package pebblestore_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// The directory testdata/format-<n> was written by the first version with that
// format, and testdata/format-<n>.records lists its records in hexadecimal. A
// version with a new format adds others, and leaves these as they are.
//
//	go test ./internal/store/pebblestore -run TestGolden -generate
var generate = flag.Bool("generate", false, "write the golden directory anew: only while its format is in no release")

const goldenNow = 2 // the format that this version writes

func goldenDir(format int) string     { return fmt.Sprint("testdata/format-", format) }
func goldenRecords(format int) string { return goldenDir(format) + ".records" }

// goldenClock makes times of the engine times since 1970.
func goldenClock() store.Reading {
	const now = 1_800_000_000 * time.Second
	return store.Reading{Engine: now, Wall: time.Unix(0, int64(now)), Boot: "2b9f0e5c-6a0f-4a8e-9f53-8d7f3d1c4e21", Up: 90 * time.Second}
}

// fillGolden writes something of everything, in two steps: what the first
// wrote is in tables if the store is opened anew between them.
func fillGolden(t *testing.T, b store.Backend, step int) {
	t.Helper()
	s := store.New(b, store.Config{Shards: 2, Clock: goldenClock})
	if _, err := s.Load(&heard{}); err != nil {
		t.Fatal(err)
	}
	turn := s.Turn()
	turn.Urgent = true
	switch step {
	case 0:
		goldenSessions(turn)
		s.Retain(&message.Message{Topic: []byte("status/1"), Payload: []byte("on"), QoS: 1, Retain: true, Publisher: "publisher"})
		s.Retain(&message.Message{Topic: []byte("gone"), Payload: []byte("soon"), Retain: true})
	case 1:
		unfinished := s.Turn()
		goldenMessages(turn, unfinished)
		s.Submit(1, unfinished)
		s.Unretain([]byte("gone"))
		s.Retain(&message.Message{Topic: []byte("status/2"), Payload: []byte{0xff, 0}, QoS: 2, Retain: true, Expires: 2_000_000_000 * time.Second, Interval: 4_294_967_295})
	}
	s.Submit(0, turn)
	s.Step()
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
}

func goldenSessions(turn *store.Turn) {
	turn.PutSession(&store.Session{Number: 1, ClientID: "connected", Expiry: 3600})
	turn.PutSession(&store.Session{Number: 2, ClientID: "away", Expiry: 0xffffffff, Left: 1_700_000_000 * time.Second, Sent: 13})
	turn.PutSession(&store.Session{Number: 3, ClientID: "worker/ä", Expiry: 60, Left: 1_700_000_001 * time.Second})
	turn.PutSession(&store.Session{Number: 4, ClientID: store.QueueID("$share/workers/jobs/#"), Expiry: 0xffffffff})
	turn.PutSession(&store.Session{Number: 300, ClientID: "", Expiry: 1})
	turn.DeleteSession(300)
	turn.PutSubscription(1, &store.Subscription{Filter: "a/+", ID: 7, QoS: 1, NoLocal: true})
	turn.PutSubscription(2, &store.Subscription{Filter: "#", ID: 268_435_455, QoS: 2, RetainAsPublished: true})
	turn.PutSubscription(2, &store.Subscription{Filter: "a/b", QoS: 1})
	turn.PutSubscription(3, &store.Subscription{Filter: "$share/workers/jobs/#", QoS: 1})
	turn.PutIncoming(1, 17, false)
	turn.PutIncoming(2, 65535, false)
	turn.PutWill(&store.Will{
		Number: 1, ClientID: "connected", Delay: 30 * time.Second, Expiry: 90 * time.Second,
		Message: message.Message{Topic: []byte("wills/connected"), Payload: []byte("bye"), QoS: 2, Retain: true, Publisher: "connected"},
	})
	turn.PutWill(&store.Will{Number: 2, ClientID: "away", Message: message.Message{Topic: []byte("wills/away"), Publisher: "away"}})
}

// goldenMessages writes messages in all the ways there are.
func goldenMessages(turn, unfinished *store.Turn) {
	put := func(k message.Key, m *message.Message, all ...store.Receiver) {
		var encoded []byte
		for i := range all {
			encoded = store.AppendReceiver(encoded, &all[i])
		}
		turn.PutReceivers(k, len(all), encoded, m)
	}
	one := &message.Message{
		Topic: []byte("a/b"), Payload: []byte("to one"), QoS: 1, Publisher: "publisher",
		Properties: append([]byte{1, 1, 3, 0, 4}, "text&\x00\x01k\x00\x01v"...), Expires: 1_900_000_000 * time.Second, Interval: 300_000_000,
	}
	put(message.NewKey(10, store.PartOwn), one, store.Receiver{Session: 2, QoS: 1, IDs: []uint32{268_435_455, 1}})

	some := &message.Message{Topic: []byte("a/c"), Payload: []byte("to some"), QoS: 2}
	put(message.NewKey(11, store.PartOwn), some, store.Receiver{Session: 1, QoS: 1, IDs: []uint32{7}}, store.Receiver{Session: 3, QoS: 2})
	turn.Done(message.NewKey(11, store.PartOwn), 12, []uint64{1})
	turn.PutOutgoing(3, message.NewKey(11, store.PartOwn), store.Outgoing{ID: 5})

	big := &message.Message{Topic: []byte("big"), Payload: []byte(strings.Repeat("0123456789abcdef", store.SeparateBytes/16)), QoS: 1}
	put(message.NewKey(13, store.PartOwn), big, store.Receiver{Session: 2, QoS: 1, Retain: true})

	all := &message.Message{Topic: []byte("to/shards"), Payload: []byte("shared"), QoS: 1}
	turn.Undecided(14, false) // its second shard has no use for it after all
	turn.Share(14, 2, all)
	put(message.NewKey(14, store.PartOfShard(0)), all, store.Receiver{Session: 2, QoS: 1})
	put(message.NewKey(14, store.PartOfShard(1)), all, store.Receiver{Session: 1, QoS: 1}, store.Receiver{Session: 3, QoS: 1})

	job := &message.Message{Topic: []byte("jobs/1"), Payload: []byte("work"), QoS: 1}
	part, _ := store.PartOfGroup(0)
	put(message.NewKey(15, part), job, store.Receiver{Session: 3, QoS: 1, Share: "$share/workers/jobs/#"})

	later := &message.Message{Topic: []byte("jobs/2"), Payload: []byte("later"), QoS: 1}
	put(message.NewKey(17, part), later, store.Receiver{Session: 4, QoS: 1, Share: "$share/workers/jobs/#"})

	// A crash came before all shards had this one. A start takes it back.
	unfinished.Awaits = 1
	unfinished.Undecided(16, true)
	all.Topic = []byte("never")
	var encoded []byte
	unfinished.PutReceivers(message.NewKey(16, store.PartOwn), 1, store.AppendReceiver(encoded, &store.Receiver{Session: 2, QoS: 1}), all)

	turn.PutOutgoing(3, message.NewKey(9, store.PartOwn), store.Outgoing{ID: 6, AwaitsPubcomp: true})
}

// heard writes down what a start finds. It implements store.Loader.
type heard struct {
	sessions map[uint64]string
	lines    []string
}

func (h *heard) say(format string, args ...any) {
	h.lines = append(h.lines, fmt.Sprintf(format, args...))
}

func (h *heard) Session(s store.Session) {
	if h.sessions == nil {
		h.sessions = map[uint64]string{}
	}
	h.sessions[s.Number] = s.ClientID
	h.say("session %d %q expires after %d left %v sent before %d", s.Number, s.ClientID, s.Expiry, s.Left, s.Sent)
}

func (h *heard) Will(w store.Will) {
	h.say("will %d of %q delay %v expires after %v: %s", w.Number, w.ClientID, w.Delay, w.Expiry, words(&w.Message))
}

func (h *heard) Subscription(n uint64, s store.Subscription) { h.say("subscription of %d: %+v", n, s) }

func (h *heard) Retained(m *message.Message) { h.say("retained: %s", words(m)) }

func (h *heard) Incoming(n uint64, id packet.ID) { h.say("received from %d: %d", n, id) }

func (h *heard) Waiting(w store.Waiting) {
	m := "apart"
	if !w.Separate {
		m = words(&w.Message)
	}
	h.say("message %d/%d of %d bytes until %v of %d for %+v of %d: %s", w.Key.Seq(), w.Key.Part(), w.Size, w.Expires, w.Interval, w.All, w.Written, m)
}

func (h *heard) AwaitPubcomp(n uint64, k message.Key, id packet.ID) {
	h.say("released to %d: message %d/%d with %d", n, k.Seq(), k.Part(), id)
}

// Shard has session 2 on shard 0, and the others on shard 1.
func (h *heard) Shard(n uint64) int {
	switch _, there := h.sessions[n]; {
	case !there:
		return -1
	case n == 2:
		return 0
	}
	return 1
}

func words(m *message.Message) string {
	return fmt.Sprintf("%q %q QoS %d retain %v properties %x until %v of %d from %q", m.Topic, m.Payload, m.QoS, m.Retain, m.Properties, m.Expires, m.Interval, m.Publisher)
}

// records are all of a backend, in hexadecimal.
func records(t *testing.T, b store.Reader) string {
	t.Helper()
	var out strings.Builder
	err := b.Scan([]byte{0}, []byte{0xff}, func(k, v []byte) error {
		fmt.Fprintf(&out, "%c %x %x\n", k[0], k[1:], v)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// goldenContents is what a golden directory holds, as a broker hears it.
func goldenContents(format int) []string {
	interval, sent := "300000000", 13
	if format < 2 {
		interval, sent = "4294967295", 0 // not known
	}
	lines := []string{
		`session 1 "connected" expires after 3600 left 0s sent before 0`,
		`session 2 "away" expires after 4294967295 left 472222h13m20s sent before ` + fmt.Sprint(sent),
		`session 3 "worker/ä" expires after 60 left 472222h13m21s sent before 0`,
		`session 4 "\x00$share/workers/jobs/#" expires after 4294967295 left 0s sent before 0`,
		`will 1 of "connected" delay 30s expires after 1m30s: "wills/connected" "bye" QoS 2 retain true properties  until 0s of 0 from "connected"`,
		`will 2 of "away" delay 0s expires after 0s: "wills/away" "" QoS 0 retain false properties  until 0s of 0 from "away"`,
		`subscription of 1: {Filter:a/+ ID:7 QoS:1 NoLocal:true RetainAsPublished:false}`,
		`subscription of 2: {Filter:# ID:268435455 QoS:2 NoLocal:false RetainAsPublished:true}`,
		`subscription of 2: {Filter:a/b ID:0 QoS:1 NoLocal:false RetainAsPublished:false}`,
		`subscription of 3: {Filter:$share/workers/jobs/# ID:0 QoS:1 NoLocal:false RetainAsPublished:false}`,
		`retained: "status/1" "on" QoS 1 retain true properties  until 0s of 0 from "publisher"`,
		`retained: "status/2" "\xff\x00" QoS 2 retain true properties  until 555555h33m20s of 4294967295 from ""`,
		`received from 1: 17`,
		`received from 2: 65535`,
		`message 10/0 of 25 bytes until 527777h46m40s of ` + interval + ` for [{Session:2 QoS:1 Retain:false IDs:[268435455 1] Share: Begun:{ID:0 AwaitsPubcomp:false}}] of 1: "a/b" "to one" QoS 1 retain false properties 0101030004746578742600016b000176 until 527777h46m40s of ` + interval + ` from "publisher"`,
		`message 11/0 of 10 bytes until 0s of 0 for [{Session:3 QoS:2 Retain:false IDs:[] Share: Begun:{ID:5 AwaitsPubcomp:false}}] of 2: "a/c" "to some" QoS 2 retain false properties  until 0s of 0 from ""`,
		`message 13/0 of 4099 bytes until 0s of 0 for [{Session:2 QoS:1 Retain:true IDs:[] Share: Begun:{ID:0 AwaitsPubcomp:false}}] of 1: apart`,
		`message 14/1 of 15 bytes until 0s of 0 for [{Session:2 QoS:1 Retain:false IDs:[] Share: Begun:{ID:0 AwaitsPubcomp:false}}] of 1: apart`,
		`message 14/2 of 15 bytes until 0s of 0 for [{Session:1 QoS:1 Retain:false IDs:[] Share: Begun:{ID:0 AwaitsPubcomp:false}} {Session:3 QoS:1 Retain:false IDs:[] Share: Begun:{ID:0 AwaitsPubcomp:false}}] of 2: apart`,
		`message 15/65 of 10 bytes until 0s of 0 for [{Session:3 QoS:1 Retain:false IDs:[] Share:$share/workers/jobs/# Begun:{ID:0 AwaitsPubcomp:false}}] of 1: "jobs/1" "work" QoS 1 retain false properties  until 0s of 0 from ""`,
		`message 17/65 of 11 bytes until 0s of 0 for [{Session:4 QoS:1 Retain:false IDs:[] Share:$share/workers/jobs/# Begun:{ID:0 AwaitsPubcomp:false}}] of 1: "jobs/2" "later" QoS 1 retain false properties  until 0s of 0 from ""`,
		`released to 3: message 9/0 with 6`,
	}
	if format < 2 { // it had no queues of groups
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "session 4 ") || strings.HasPrefix(l, "message 17/") })
	}
	return lines
}

// copyDir copies the golden directory to one that a test may change.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestGolden opens directories of all versions of the format: every later version
// must find in them exactly what was put there.
func TestGolden(t *testing.T) {
	watch(t)
	if *generate {
		writeGolden(t)
	}
	for format := 1; format <= goldenNow; format++ {
		for _, way := range []string{"broker", "view"} {
			t.Run(fmt.Sprint(format, " ", way), func(t *testing.T) { openGolden(t, format, way) })
		}
	}
}

func openGolden(t *testing.T, format int, way string) {
	dir := copyDir(t, goldenDir(format))
	var b store.Backend
	if way == "broker" {
		b = open(t, dir, pebblestore.Options{})
		defer b.Close()
	} else {
		v, _, err := pebblestore.OpenView(dir, pebblestore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		files, err := v.Check()
		if err != nil || len(files) < 3 || slices.ContainsFunc(files, func(f pebblestore.File) bool { return f.Err != nil }) {
			t.Errorf("check: %+v, %v", files, err)
		}
		b = store.ReadOnly(v)
	}
	want, err := os.ReadFile(goldenRecords(format))
	if err != nil {
		t.Fatal(err)
	}
	if got := records(t, b); got != string(want) {
		t.Errorf("records:\n%swant:\n%s", got, want)
	}
	var findings []store.Finding
	if err := store.Audit(b, func(f store.Finding) { findings = append(findings, f) }); err != nil {
		t.Error(err)
	}
	if len(findings) != 1 || findings[0].Record != "undecided message 16" || findings[0].Lost {
		t.Errorf("audit: %+v", findings)
	}
	var h heard
	lost, err := store.New(b, store.Config{Shards: 2}).Load(&h)
	if err != nil || len(lost) > 0 {
		t.Errorf("load: %v, %v", lost, err)
	}
	if want := goldenContents(format); !slices.Equal(h.lines, want) {
		t.Errorf("a start finds\n%s\nwant\n%s", strings.Join(h.lines, "\n"), strings.Join(want, "\n"))
	}
}

// TestGoldenEncoding writes what the golden directory holds: the bytes of the
// records must not change without a new number of the format.
func TestGoldenEncoding(t *testing.T) {
	watch(t)
	s := open(t, "data", small(vfs.NewMem()))
	defer s.Close()
	fillGolden(t, s, 0)
	fillGolden(t, s, 1)
	want, err := os.ReadFile(goldenRecords(goldenNow))
	if err != nil {
		t.Fatal(err)
	}
	if got := records(t, s); got != string(want) {
		t.Errorf("this version writes\n%swant\n%s", got, want)
	}
}

// TestGoldenHoldsEveryKind looks for each kind of record in the golden directory:
// a new one belongs there, too.
func TestGoldenHoldsEveryKind(t *testing.T) {
	keys, err := os.ReadFile("../keys.go")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile(goldenRecords(goldenNow))
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`\bkind[A-Z]\w* += '(.)'`).FindAllSubmatch(keys, -1)
	if len(kinds) < 10 {
		t.Fatalf("%d kinds found in keys.go, want 10 or more", len(kinds))
	}
	for _, k := range kinds { // a line begins with its kind
		if !strings.Contains("\n"+string(golden), fmt.Sprintf("\n%s ", k[1])) {
			t.Errorf("%s holds no record of kind %s", goldenRecords(goldenNow), k[1])
		}
	}
}

// writeGolden writes the golden directory: with a table and a log.
func writeGolden(t *testing.T) {
	if err := os.RemoveAll(goldenDir(goldenNow)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(goldenDir(goldenNow)), 0o755); err != nil {
		t.Fatal(err)
	}
	var text string
	for step := range 2 {
		s := open(t, goldenDir(goldenNow), pebblestore.Options{})
		fillGolden(t, s, step)
		text = records(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ballast, err := filepath.Glob(filepath.Join(goldenDir(goldenNow), "ballast-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range ballast {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(goldenRecords(goldenNow), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
