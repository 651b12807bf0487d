package db

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// text is a file in words.
func text(f *File) string {
	var b strings.Builder
	fmt.Fprintf(&b, "format %d, %d gone\n", f.Format, f.Gone)
	for _, c := range f.Clients {
		fmt.Fprintf(&b, "client %q, expiry %d, ends %d\n", c.ID, c.Expiry, max(c.Ends.Unix(), 0))
	}
	for _, s := range f.Subscriptions {
		fmt.Fprintf(&b, "subscription of %q to %s, QoS %d, identifier %d, no local %v, retain as published %v\n", s.ClientID, s.Filter, s.QoS, s.ID, s.NoLocal, s.RetainAsPublished)
	}
	for _, n := range slices.Sorted(maps.Keys(f.Messages)) {
		m := f.Messages[n]
		fmt.Fprintf(&b, "message %d from %q: %s %q, properties %q, QoS %d, retain %v, expires %d\n", n, m.Publisher, m.Topic, m.Payload, m.Properties, m.QoS, m.Retain, max(m.Expires.Unix(), 0))
	}
	for _, d := range f.Deliveries {
		fmt.Fprintf(&b, "delivery of %d, client %q, identifier %d, QoS %d, retain %v, incoming %v, state %d, identifiers %v\n", d.Message, d.ClientID, d.ID, d.QoS, d.Retain, d.Incoming, d.State, d.IDs)
	}
	fmt.Fprintf(&b, "retained %v\n", f.Retained)
	return b.String()
}

func files(t testing.TB) (names []string) {
	t.Helper()
	names, err := filepath.Glob("testdata/*.db")
	if err != nil || len(names) < 2 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	return names
}

func contents(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFiles reads files that Mosquitto has written.
func TestFiles(t *testing.T) {
	for _, name := range files(t) {
		f, err := Parse(contents(t, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		golden := strings.TrimSuffix(name, ".db") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(text(f)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := text(f), string(contents(t, golden)); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

// TestFormat5 reads a client as Mosquitto 1.6 wrote it.
func TestFormat5(t *testing.T) {
	b := append([]byte(nil), magic...)
	b = binary.BigEndian.AppendUint32(b, 5)
	body := binary.LittleEndian.AppendUint64(nil, 1_700_000_000)
	body = binary.BigEndian.AppendUint32(body, 60)
	body = append(body, 0, 7, 0, 2, 'i', 'd')
	b = binary.BigEndian.AppendUint32(b, kindClient)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	f, err := Parse(append(b, body...))
	if err != nil || len(f.Clients) != 1 || f.Clients[0].ID != "id" || f.Clients[0].Expiry != 60 || f.Clients[0].Ends.Unix() != 1_700_000_000 {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestTruncated ends files anywhere. Behind a chunk that may be all of it; in all
// other places the error has the offset of the chunk.
func TestTruncated(t *testing.T) {
	for _, name := range files(t) {
		b := contents(t, name)
		ends := map[int]bool{}
		for at := len(magic) + 4; at <= len(b); at += 8 + int(binary.BigEndian.Uint32(b[at+4:])) {
			ends[at] = true
			if at == len(b) {
				break
			}
		}
		chunk := 0
		for n := range b {
			if ends[n] {
				chunk = n
			}
			_, err := Parse(b[:n:n])
			damaged, ok := errors.AsType[*Damaged](err)
			if ends[n] != (err == nil) || err != nil && (!ok || damaged.Offset != chunk) {
				t.Fatalf("%s: the first %d bytes: %v; want an error at %d", name, n, err, chunk)
			}
		}
	}
}

// TestDamaged changes bytes of a file, where that makes it meaningless.
func TestDamaged(t *testing.T) {
	b := contents(t, "testdata/queues.db")
	const first = 0x2f // chunk of a message, behind the configuration
	for _, tt := range []struct {
		name   string
		at     int
		value  byte
		offset int
		want   string
	}{
		{"magic", 3, 'x', 0, "no persistence file"},
		{"old format", 22, 4, 19, "before 1.6"},
		{"new format", 22, 7, 19, "newer"},
		{"size of numbers", 0x28, 4, 0x17, "have 4 bytes"},
		{"kind", first + 3, 9, first, "unknown kind 9"},
		{"length", first + 4, 1, first, "are left"},
		{"length of the topic", first + 8 + 27, 200, first, "ends before its last field"},
		{"QoS", first + 8 + 30, 3, first, "QoS 3"},
		{"topic", first + 8 + 32 + 41, '#', first, "wildcard"},
		{"properties", first + 8 + 32 + 41 + 3 + 5, 6, first, "length of the properties"},
		{"property", first + 8 + 32 + 41 + 3 + 5 + 1, 1, first, "payload format"},
		{"time", first + 8 + 15, 1, first, "two centuries"},
	} {
		damaged := slices.Clone(b)
		damaged[tt.at] = tt.value
		_, err := Parse(damaged)
		if d, ok := errors.AsType[*Damaged](err); !ok || d.Offset != tt.offset || !strings.Contains(strings.ToLower(d.Detail), strings.ToLower(tt.want)) {
			t.Errorf("%s: %v; want %q at byte %d", tt.name, err, tt.want, tt.offset)
		}
	}
}

// FuzzParse proves that no file makes Parse panic or take memory beyond the file's
// own, and that what it returns holds together.
func FuzzParse(f *testing.F) {
	for _, name := range files(f) {
		f.Add(contents(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Parse(b)
		if err != nil {
			if d, ok := errors.AsType[*Damaged](err); !ok || d.Offset < 0 || d.Offset > len(b) {
				t.Fatal(err)
			}
			return
		}
		for _, d := range file.Deliveries {
			if file.Messages[d.Message] == nil || d.ClientID == "" {
				t.Fatalf("%+v", d)
			}
		}
		_ = text(file)
	})
}
