package storetool_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/app/storetool"
	"midge/internal/store"
	"midge/internal/store/pebblestore"
	"midge/internal/store/storetest"
)

// golden is a directory with something of everything.
const golden = "../../store/pebblestore/testdata/format-2"

// directory is a copy of it.
func directory(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unchanged runs do, which must leave the directory and the temporary files as
// they are.
func unchanged(t *testing.T, dir string, do func(out *bytes.Buffer) error) (text string, err error) {
	t.Helper()
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	before := storetest.Digest(t, dir)
	var out bytes.Buffer
	err = do(&out)
	if after := storetest.Digest(t, dir); after != before {
		t.Errorf("the directory has changed from\n%sto\n%s", before, after)
	}
	if left, _ := os.ReadDir(temporary); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return out.String(), err
}

func check(dir string) func(*bytes.Buffer) error {
	return func(out *bytes.Buffer) error { return storetool.Check(out, dir) }
}

func stats(o storetool.Options) func(*bytes.Buffer) error {
	return func(out *bytes.Buffer) error { return storetool.Stats(out, o, 2) }
}

func export(o storetool.Options, sel storetool.Selection) func(*bytes.Buffer) error {
	return func(out *bytes.Buffer) error { return storetool.Export(out, o, sel) }
}

func TestCheck(t *testing.T) {
	dir := directory(t)
	got, err := unchanged(t, dir, check(dir))
	want := "directory " + dir + `, format 2
files: 3 checked, 0 damaged
records: 29 checked, 0 damaged, 1 left over
  left over: undecided message 16: it is left over from something that has ended; the next start removes it
no damage; what is left over does no harm
`
	if err != nil || got != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
}

// TestStatsWhoWasThere counts a session whose client has left before a stop: of one
// that never expires nobody writes when that was.
func TestStatsWhoWasThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	backend, _, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	st := store.New(backend, store.Config{Shards: 1})
	turn := st.Turn()
	turn.PutSession(&store.Session{Number: 1, ClientID: "left", Expiry: math.MaxUint32})
	turn.PutSession(&store.Session{Number: 2, ClientID: "left, too", Expiry: 60, Left: time.Hour})
	st.Submit(0, turn)
	st.Step()
	if err := errors.Join(st.Err(), backend.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := unchanged(t, dir, stats(storetool.Options{Dir: dir}))
	if want := "sessions                      2   1 never expire; of the others 0 were connected when the broker ended"; err != nil || !strings.Contains(got, want) {
		t.Errorf("%v, no %q in\n%s", err, want, got)
	}
}

func TestStats(t *testing.T) {
	dir := directory(t)
	got, err := unchanged(t, dir, stats(storetool.Options{Dir: dir}))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"sessions                      3   1 never expire; of the others 1 were connected when the broker ended",
		"subscriptions                 4   1 of them shared",
		"queues of groups              1   shared subscriptions for which messages waited",
		"waiting messages              6   4170 bytes; in the queues of sessions: 8, 4200 bytes",
		"QoS 2 exchanges               2   towards clients; 2 from clients",
		"retained messages             2   20 bytes",
		"wills                         2",
		"biggest of 4 queues, by client id          messages          bytes\n" +
			"\"away\"                                            3           4139\n" +
			"\"worker/ä\"                                        3             35\n\n",
		"receivers                     9            324",
		"FORMAT                        1             14",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestExport(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 256)
	wills := `{"kind":"will","topic":"wills/connected","qos":2,"retain":true,"payload":"bye","payload_encoding":"text","publisher":"connected","client":"connected","delay_seconds":30,"expiry_seconds":90}
{"kind":"will","topic":"wills/away","qos":0,"retain":false,"payload":"","payload_encoding":"text","publisher":"away","client":"away","delay_seconds":0}
`
	retained := `{"kind":"retained","topic":"status/1","qos":1,"retain":true,"payload":"on","payload_encoding":"text","publisher":"publisher"}
{"kind":"retained","topic":"status/2","qos":2,"retain":true,"payload":"/wA=","payload_encoding":"base64","expires":"2033-05-18T03:33:20Z"}
`
	queued := `{"kind":"queued","message":10,"topic":"a/b","qos":1,"retain":false,"payload":"to one","payload_encoding":"text","properties":{"payload_format_indicator":1,"content_type":"text","user_properties":[["k","v"]]},"expires":"2030-03-17T17:46:40Z","publisher":"publisher","receivers":[{"client":"away","session":2,"qos":1,"retain":false,"subscription_ids":[268435455,1]}]}
{"kind":"queued","message":11,"topic":"a/c","qos":2,"retain":false,"payload":"to some","payload_encoding":"text","receivers":[{"client":"worker/ä","session":3,"qos":2,"retain":false,"packet_id":5}]}
{"kind":"queued","message":13,"topic":"big","qos":1,"retain":false,"payload":"` + big + `","payload_encoding":"text","receivers":[{"client":"away","session":2,"qos":1,"retain":true}]}
{"kind":"queued","message":14,"topic":"to/shards","qos":1,"retain":false,"payload":"shared","payload_encoding":"text","receivers":[{"client":"away","session":2,"qos":1,"retain":false},{"client":"connected","session":1,"qos":1,"retain":false},{"client":"worker/ä","session":3,"qos":1,"retain":false}]}
{"kind":"queued","message":15,"topic":"jobs/1","qos":1,"retain":false,"payload":"work","payload_encoding":"text","receivers":[{"client":"worker/ä","session":3,"qos":1,"retain":false,"share":"$share/workers/jobs/#"}]}
{"kind":"queued","message":17,"topic":"jobs/2","qos":1,"retain":false,"payload":"later","payload_encoding":"text","receivers":[{"client":"","session":4,"qos":1,"retain":false,"share":"$share/workers/jobs/#"}]}
`
	connected := `{"kind":"will","topic":"wills/connected","qos":2,"retain":true,"payload":"bye","payload_encoding":"text","publisher":"connected","client":"connected","delay_seconds":30,"expiry_seconds":90}
{"kind":"queued","message":14,"topic":"to/shards","qos":1,"retain":false,"payload":"shared","payload_encoding":"text","receivers":[{"client":"connected","session":1,"qos":1,"retain":false}]}
`
	for _, test := range []struct {
		name string
		sel  storetool.Selection
		want string
	}{
		{"all", storetool.Selection{}, wills + retained + queued},
		{"wills", storetool.Selection{Kinds: []string{storetool.Will}}, wills},
		{"retained and queued", storetool.Selection{Kinds: []string{storetool.Queued, storetool.Retained}}, retained + queued},
		{"one client", storetool.Selection{Client: "connected"}, connected},
		{"no such client", storetool.Selection{Client: "nobody"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := directory(t)
			got, err := unchanged(t, dir, export(storetool.Options{Dir: dir}, test.sel))
			if err != nil || got != test.want {
				t.Errorf("got %v\n%s\nwant\n%s", err, got, test.want)
			}
			for l := range strings.Lines(got) {
				if !json.Valid([]byte(l)) {
					t.Errorf("not JSON: %s", l)
				}
			}
		})
	}
}

// TestDamaged damages a directory. Check says what is wrong and fails; stats
// and export say so, and read the rest with Salvage.
func TestDamaged(t *testing.T) {
	flip := func(at int) func(string) error {
		return func(name string) error {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			b[at] ^= 0x40
			return os.WriteFile(name, b, 0o600)
		}
	}
	for _, test := range []struct {
		name, file string
		damage     func(name string) error
		found      string // by check
		exported   int    // lines
	}{
		{"table", "db/000005.sst", flip(100), "  damaged: db/000005.sst (", 1},
		{"table missing", "db/000005.sst", os.Remove, "  damaged: db/000005.sst (", 1},
		{"log", "db/000007.log", flip(1000), "  damaged: db/000007.log (", 4},
		{"log missing", "db/000007.log", os.Remove, "  damaged: db/000004.log (0 bytes): missing, or a later one", 4},
		{"manifest", "db/MANIFEST-000006", flip(20), "  damaged: db/MANIFEST-000006 (", 10},
		{"marker missing", "db/marker.manifest.000002.MANIFEST-000006", os.Remove, "  damaged: the database (0 bytes): the marker of the manifest is missing", 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := directory(t)
			if err := test.damage(filepath.Join(dir, test.file)); err != nil {
				t.Fatal(err)
			}
			text, err := unchanged(t, dir, check(dir))
			if err == nil || !strings.Contains(err.Error(), dir+" is damaged: 1 files") || !strings.Contains(text, test.found) {
				t.Errorf("check: %v\n%s", err, text)
			}
			o := storetool.Options{Dir: dir}
			if _, err := unchanged(t, dir, stats(o)); err == nil || !strings.Contains(err.Error(), "--salvage") {
				t.Errorf("stats: %v", err)
			}
			if _, err := unchanged(t, dir, export(o, storetool.Selection{})); err == nil || !strings.Contains(err.Error(), "--salvage") {
				t.Errorf("export: %v", err)
			}
			o.Salvage = true
			if _, err := unchanged(t, dir, stats(o)); err != nil {
				t.Errorf("stats of what is left: %v", err)
			}
			text, err = unchanged(t, dir, export(o, storetool.Selection{}))
			if lines := strings.Count(text, "\n"); lines != test.exported || err != nil {
				t.Errorf("export of what is left: %d lines, %v; want %d", lines, err, test.exported)
			}
		})
	}
}

// TestRefused opens what is no data directory of this version.
func TestRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(dir string) error
		want string
	}{
		{"missing", os.RemoveAll, "is no data directory of a broker"},
		{"empty", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "db")) }, "is no data directory of a broker"},
		{"newer", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "FORMAT"), []byte("midge store 3\n"), 0o600)
		}, "it has format 3 and this version knows formats up to 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := directory(t)
			if err := test.make(dir); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			for name, err := range map[string]error{
				"check":  storetool.Check(&out, dir),
				"stats":  storetool.Stats(&out, storetool.Options{Dir: dir}, 1),
				"export": storetool.Export(&out, storetool.Options{Dir: dir, Salvage: true}, storetool.Selection{}),
			} {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: %v, want %q in it", name, err, test.want)
				}
			}
			if out.Len() > 0 {
				t.Errorf("written: %s", out.String())
			}
		})
	}
}

// TestFormatLost proves that a lost FORMAT is told, and no damage.
func TestFormatLost(t *testing.T) {
	dir := directory(t)
	if err := os.Remove(filepath.Join(dir, "FORMAT")); err != nil {
		t.Fatal(err)
	}
	text, err := unchanged(t, dir, check(dir))
	if err != nil || !strings.Contains(text, "the file FORMAT is lost") {
		t.Errorf("got %v\n%s", err, text)
	}
}
