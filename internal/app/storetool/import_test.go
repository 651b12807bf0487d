package storetool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/mosquitto/db"
	"midge/internal/store/storetest"
)

const written = "../../mosquitto/db/testdata/" // by Mosquitto

// early is when all that the files have was there.
var early = time.Unix(1_795_893_680, 0)

func imported(t *testing.T, name string, now time.Time) (out, exported string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	var b bytes.Buffer
	if err := Import(&b, Importing{File: written + name, Dir: dir, Now: now}); err != nil {
		t.Fatal(err)
	}
	out = b.String()
	b.Reset()
	if err := Check(&b, dir); err != nil || !strings.Contains(b.String(), " 0 damaged, 0 left over\n") {
		t.Errorf("%v\n%s", err, b.String())
	}
	b.Reset()
	if err := Export(&b, Options{Dir: dir}, Selection{Kinds: []string{Queued}}); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("the directory has %v", entries)
	}
	return out, b.String()
}

// TestImport imports what Mosquitto has written, at times when all of it was
// there, and when some had expired.
func TestImport(t *testing.T) {
	const busy, away, tool = `{"client":"busy","session":1,"qos":%d,"retain":false%s}`, `{"client":"away","session":3,"qos":1,"retain":%v,"subscription_ids":[77]}`, `{"client":"tool","session":4,"qos":%d,"retain":false}`
	for _, tt := range []struct {
		name, file string
		now        time.Time
		out        string
		receivers  []string // of the messages that wait
	}{
		{"exchanges", "exchanges.db", early, "sessions 4; subscriptions 4; waiting messages 14; QoS 2 exchanges 3; retained messages 2; ", []string{
			fmt.Sprintf(busy, 1, ""), fmt.Sprintf(busy, 2, `,"packet_id":3`),
			fmt.Sprintf(busy+","+away+","+tool, 1, "", false, 1), fmt.Sprintf(busy+","+away+","+tool, 2, "", false, 2), fmt.Sprintf(busy+","+away+","+tool, 1, "", true, 1),
			fmt.Sprintf(busy+","+tool+","+away, 2, "", 2, false),
		}},
		{"the session of away has expired", "exchanges.db", early.Add(200_000 * time.Second), "sessions 3; subscriptions 3; waiting messages 10; QoS 2 exchanges 3; retained messages 1; " +
			"left out: 1 sessions that have expired, or end with their connection; left out: 1 messages that have expired; left out: 3 messages of sessions that are not imported, or that are not in the file; ", nil},
		{"queues", "queues.db", early, "sessions 1; subscriptions 2; waiting messages 5; QoS 2 exchanges 0; retained messages 2; left out: 1 messages of QoS 0, which do not wait for clients; ", nil},
		{"messages have expired", "queues.db", early.Add(200_000 * time.Second), "sessions 1; subscriptions 2; waiting messages 4; QoS 2 exchanges 0; retained messages 1; " +
			"left out: 2 messages that have expired; left out: 1 messages of QoS 0, which do not wait for clients; ", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, exported := imported(t, tt.file, tt.now)
			var lines []string
			for l := range strings.Lines(out) {
				lines = append(lines, strings.Join(strings.Fields(l), " ")+"; ")
			}
			if got := strings.Join(lines[1:], ""); got != tt.out {
				t.Errorf("got %s\nwant %s", got, tt.out)
			}
			for i, l := range strings.Split(strings.TrimSpace(exported), "\n") {
				if _, receivers, _ := strings.Cut(l, `"receivers":`); tt.receivers != nil && receivers != "["+tt.receivers[i]+"]}" {
					t.Errorf("message %d goes to %s\nwant %s", i, receivers, tt.receivers[i])
				}
			}
		})
	}
}

// TestImportOrder gives a client messages in another order than that of their
// numbers, and one twice: it is the order of its queue that counts.
func TestImportOrder(t *testing.T) {
	f := &db.File{Messages: map[uint64]*db.Message{}, Clients: []db.Client{{ID: "a", Expiry: 9}, {ID: "b", Expiry: 9}}}
	for n := range uint64(5) {
		f.Messages[n+1] = &db.Message{Topic: fmt.Appendf(nil, "%d", n+1), QoS: 1}
	}
	queues := map[string][]uint64{"a": {1, 3, 2, 2, 4, 4, 1}, "b": {1, 2, 3, 4, 5}}
	for client, queue := range queues {
		for _, n := range queue {
			f.Deliveries = append(f.Deliveries, db.Delivery{ClientID: client, Message: n, QoS: 1, State: db.Queued})
		}
	}
	im := newImporter(f, nil, early)
	got := map[string][]uint64{}
	for _, w := range im.waiting {
		seen := map[string]bool{}
		for _, d := range w.receivers {
			if seen[d.ClientID] {
				t.Errorf("%s is to get a message twice in one record", d.ClientID)
			}
			seen[d.ClientID] = true
			got[d.ClientID] = append(got[d.ClientID], d.Message)
			if f.Messages[d.Message] != w.m {
				t.Errorf("%s gets another message than %d", d.ClientID, d.Message)
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(queues) {
		t.Errorf("got %v, want %v", got, queues)
	}
	if len(im.waiting) != 9 {
		t.Errorf("%d records for 5 messages, 4 of which one client needs in another order", len(im.waiting))
	}
}

// TestImportReceived passes a QoS 2 message on that was received and not
// released, as if it had come just now.
func TestImportReceived(t *testing.T) {
	f := &db.File{
		Messages: map[uint64]*db.Message{7: {Topic: []byte("t/1"), QoS: 2, Publisher: "p", Retain: true}},
		Clients:  []db.Client{{ID: "p", Expiry: 9}, {ID: "a", Expiry: 9}, {ID: "b", Expiry: 9}},
		Subscriptions: []db.Subscription{
			{ClientID: "p", Filter: "t/#", QoS: 2, NoLocal: true},
			{ClientID: "a", Filter: "t/#", QoS: 1, ID: 1},
			{ClientID: "a", Filter: "+/1", QoS: 2, ID: 2, RetainAsPublished: true},
			{ClientID: "a", Filter: "t/1", QoS: 0},
			{ClientID: "b", Filter: "u/#", QoS: 2},
			{ClientID: "a", Filter: "$share/g/t/#", QoS: 1},
			{ClientID: "b", Filter: "$share/g/t/#", QoS: 1},
			{ClientID: "gone", Filter: "t/#", QoS: 1},
		},
		Deliveries: []db.Delivery{
			{ClientID: "p", Message: 7, ID: 3, QoS: 2, Incoming: true, State: db.AwaitPubrel},
			{ClientID: "p", Message: 7, ID: 4, QoS: 2, Incoming: true, State: db.Queued}, // no PUBREC: it comes again
		},
	}
	im := newImporter(f, nil, early)
	var got []string
	for _, w := range im.waiting {
		for _, d := range w.receivers {
			got = append(got, fmt.Sprintf("%s QoS %d retain %v %v %s", d.ClientID, d.QoS, d.Retain, d.IDs, d.share))
		}
	}
	want := "[a QoS 2 retain true [1 2]  a QoS 1 retain false [] $share/g/t/#]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// TestImportRefused imports what is no good, and where it must not go. Nothing
// changes.
func TestImportRefused(t *testing.T) {
	whole, err := os.ReadFile(written + "exchanges.db")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "mosquitto.db")
	for n := 0; n < len(whole); n += 7 {
		if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Parse(whole[:n]); err == nil {
			continue // cut off between two chunks: nobody can know
		}
		err := Import(&bytes.Buffer{}, Importing{File: file, Dir: dir, Now: early})
		if err == nil || !strings.Contains(err.Error(), "at byte ") || !strings.Contains(err.Error(), "nothing is imported") {
			t.Errorf("the first %d bytes: %v", n, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Fatalf("the first %d bytes made a directory", n)
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := storetest.Digest(t, dir)
	if err := Import(&bytes.Buffer{}, Importing{File: written + "exchanges.db", Dir: dir, Now: early}); err == nil || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("into a directory with something in it: %v", err)
	}
	if err := os.WriteFile(file, whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Import(&bytes.Buffer{}, Importing{File: file, Dir: dir, Replace: true, Now: early}); err == nil {
		t.Error("a broken file replaced a directory")
	}
	if after := storetest.Digest(t, dir); after != before {
		t.Errorf("the directory changed from\n%sto\n%s", before, after)
	}
	if err := Import(&bytes.Buffer{}, Importing{File: written + "exchanges.db", Dir: filepath.Join(dir, "a", "b"), Now: early}); err == nil {
		t.Error("into a directory whose parent is missing")
	}
}

// TestImportReplaces puts aside what a directory holds, and what a crash has left of
// an import.
func TestImportReplaces(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, unfinished, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Import(&out, Importing{File: written + "queues.db", Dir: dir, Now: early}); err != nil {
		t.Fatalf("over an unfinished import: %v", err)
	}
	if err := Import(&out, Importing{File: written + "exchanges.db", Dir: dir, Replace: true, Now: early}); err != nil {
		t.Fatal(err)
	}
	aside := filepath.Join(dir, "replaced-20261128T192120Z")
	if !strings.Contains(out.String(), "what was in "+dir+" is in "+aside+"\n") {
		t.Errorf("not told: %s", out.String())
	}
	for name, want := range map[string]string{dir: "sessions                      4", aside: "sessions                      1"} {
		out.Reset()
		if err := Stats(&out, Options{Dir: name}, 1); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v\n%s", name, err, out.String())
		}
	}
}

// TestImportMany imports more than fits into one turn, with large messages.
func TestImportMany(t *testing.T) {
	f := &db.File{Messages: map[uint64]*db.Message{}, Clients: []db.Client{{ID: "a", Expiry: 9}}}
	payload := bytes.Repeat([]byte("x"), 9_000)
	for n := range uint64(500) {
		f.Messages[n] = &db.Message{Topic: []byte("t"), QoS: 1, Payload: binary.BigEndian.AppendUint64(payload, n)}
		f.Deliveries = append(f.Deliveries, db.Delivery{ClientID: "a", Message: n, QoS: 1, State: db.Queued})
	}
	dir := t.TempDir()
	im := newImporter(f, nil, early)
	if err := im.write(dir); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Export(&out, Options{Dir: dir}, Selection{}); err != nil || strings.Count(out.String(), "\n") != 500 {
		t.Errorf("%v, %d lines", err, strings.Count(out.String(), "\n"))
	}
}

// TestImportWithout leaves clients out, and what is theirs alone.
func TestImportWithout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var out bytes.Buffer
	o := Importing{File: written + "exchanges.db", Dir: dir, Without: []string{"b*", "tool"}, Now: early}
	if err := Import(&out, o); err != nil || !strings.Contains(out.String(), "sessions                      2\n") || !strings.Contains(out.String(), "left out: 2 sessions of clients that are not wanted\n") {
		t.Errorf("%v\n%s", err, out.String())
	}
	out.Reset()
	if err := Export(&out, Options{Dir: dir}, Selection{}); err != nil || strings.Contains(out.String(), "busy") || strings.Contains(out.String(), "tool") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
