package pebblestore

import (
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// TestHistory tells damaged logs from those that a crash cut off, by the
// sequence numbers of their records.
func TestHistory(t *testing.T) {
	type record struct {
		log    string
		seq    uint64
		count  uint32
		synced uint64
		lost   int64 // bytes that cannot be read in front of it
	}
	tests := []struct {
		name    string
		next    uint64 // the number that the manifest says comes first; 0 if there is none
		records []record
		damaged string // the log
		cut     uint64 // the first record that does not count; 0 if all do
	}{
		{"sound", 10, []record{{"a", 10, 2, 10, 0}, {"b", 12, 1, 12, 0}}, "", 0},
		{"sound, without a manifest", 0, []record{{"a", 20, 2, 20, 0}, {"b", 22, 1, 22, 0}}, "", 0},
		{"unreadable, but no number is missing", 10, []record{{"a", 10, 1, 10, 0}, {"a", 11, 1, 11, 30}, {"b", 12, 1, 12, 0}}, "", 0},
		{"the same in front of the next log", 0, []record{{"a", 20, 1, 20, 0}, {"b", 21, 1, 21, 30}}, "", 0},
		{"missing, and was on disk", 10, []record{{"a", 10, 1, 10, 0}, {"a", 15, 1, 15, 30}, {"b", 16, 1, 16, 0}}, "a", 0},
		{"missing at the end of a log, and was on disk", 10, []record{{"a", 10, 1, 10, 0}, {"b", 15, 1, 15, 0}}, "b", 0},
		{"missing at the beginning, and was on disk", 10, []record{{"a", 15, 1, 15, 30}, {"b", 16, 1, 16, 0}}, "a", 0},
		{"the same without a manifest", 0, []record{{"a", 15, 1, 15, 30}, {"b", 16, 1, 16, 0}}, "a", 0},
		{"missing, as after a crash", 10, []record{{"a", 10, 1, 10, 0}, {"a", 15, 1, 10, 30}}, "", 15},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := &history{next: test.next}
			encode := func(r record) []byte { // a batch as Commit makes it, without its changes
				b := binary.LittleEndian.AppendUint64(nil, r.seq)
				b = binary.LittleEndian.AppendUint32(b, r.count)
				b = append(b, byte(pebble.InternalKeyKindLogData), 8)
				return binary.LittleEndian.AppendUint64(b, r.synced)
			}
			for _, r := range test.records {
				h.record(r.log, encode(r), skipped{bytes: r.lost})
			}
			for _, log := range []string{"a", "b"} {
				if err := h.fault(log); (err != nil) != (log == test.damaged) {
					t.Errorf("log %s: fault %v", log, err)
				}
			}
			for _, r := range test.records {
				if got, want := h.counts(encode(r)), test.cut == 0 || r.seq < test.cut; got != want {
					t.Errorf("record %d counts: %v, want %v", r.seq, got, want)
				}
			}
		})
	}
}
