package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// history is what the logs that are not in tables yet say about themselves.
//
// A log that ends with a record that cannot be read may be damaged, or a crash
// may have come before the record was on disk. Pebble cannot tell them apart
// in general and goes for the crash. So every commit writes into the log up to
// which sequence number everything was on disk when it began. Sequence numbers
// have no gaps. When some are missing before that number, the log is damaged.
type history struct {
	logs   []string // in their order
	synced uint64   // all sequence numbers before it were on disk
	holes  []hole
	faults map[string]error

	begun   bool    // a record was read
	next    uint64  // the sequence number that should come next; 0 is any
	skipped skipped // since the last record
}

// firstSeq is the first sequence number that Pebble gives.
const firstSeq = 10

// hole is where records are missing.
type hole struct {
	file     string
	skipped  skipped
	from, to uint64 // the sequence numbers that are missing: up to before to; from 0 is unknown
	closed   bool   // the log was closed in order behind it
}

// isDamage reports whether what is missing was on disk once, given the sequence
// number up to which everything was: then it is not what a crash left.
func (h hole) isDamage(synced uint64) bool {
	return h.closed || h.from != 0 && synced > h.from || h.from == 0 && synced >= h.to
}

func (h hole) String() string {
	if h.skipped.bytes == 0 {
		return fmt.Sprintf("records %d to %d are missing before it", h.from, h.to)
	}
	return fmt.Sprintf("%d bytes cannot be read from byte %d on; what follows was read", h.skipped.bytes, h.skipped.at)
}

// readHistory reads all logs that the manifest does not exclude. Without a
// manifest those are all.
func readHistory(fs vfs.FS, path string, names []string, m *manifest) *history {
	h := &history{faults: map[string]error{}}
	if m != nil {
		// The logs begin before this number: they are older than the manifest.
		h.next = max(m.next, firstSeq)
	}
	for _, name := range names {
		if num, kind := parseFileName(name); kind == "log" && (m == nil || num >= m.minLog) {
			h.logs = append(h.logs, name)
		}
	}
	slices.SortFunc(h.logs, func(a, b string) int {
		na, _ := parseFileName(a)
		nb, _ := parseFileName(b)
		return int(na) - int(nb)
	})
	for _, name := range h.logs {
		tail, closed := h.read(fs, path, name, func(record []byte, before skipped) error {
			h.record(name, record, before)
			return nil
		})
		if tail.bytes > 0 && h.skipped.bytes == 0 {
			h.skipped = tail
		}
		if closed && tail.bytes > 0 {
			h.holes = append(h.holes, hole{name, tail, h.next, h.next + 1, true})
			h.skipped = skipped{}
		}
	}
	return h
}

// read reads the records of a log.
func (h *history) read(fs vfs.FS, path, name string, yield func(record []byte, before skipped) error) (tail skipped, closed bool) {
	f, err := fs.Open(fs.PathJoin(path, name))
	if err != nil {
		h.faults[name] = err
		return skipped{}, false
	}
	defer f.Close()
	num, _ := parseFileName(name)
	tail, closed, err = readLog(f, uint32(num), yield)
	if err != nil {
		h.faults[name] = err
	}
	return tail, closed
}

// record notes a record, and what is missing in front of it.
func (h *history) record(name string, record []byte, before skipped) {
	head, ok := batchrepr.ReadHeader(record)
	if !ok {
		return
	}
	if h.skipped.bytes > 0 { // of the log before
		before, h.skipped = h.skipped, skipped{}
	}
	seq := uint64(head.SeqNum)
	switch {
	case seq > h.next && h.next != 0:
		h.holes = append(h.holes, hole{name, before, h.next, seq, false})
	case before.bytes > 0 && !h.begun:
		h.holes = append(h.holes, hole{name, before, 0, seq, false})
	}
	h.begun = true
	h.next = seq + uint64(head.Count)
	h.synced = max(h.synced, syncedBefore(record))
}

// syncedBefore is the sequence number that a commit wrote into the log: everything
// before it was on disk. It is 0 if there is none.
func syncedBefore(record []byte) (synced uint64) {
	for r := batchrepr.Read(record); ; {
		kind, data, _, ok, err := r.Next()
		if err != nil || !ok {
			return synced
		}
		if kind == pebble.InternalKeyKindLogData && len(data) == 8 {
			synced = binary.LittleEndian.Uint64(data)
		}
	}
}

// counts reports whether a record comes before the first hole that a crash
// explains.
func (h *history) counts(record []byte) bool {
	head, ok := batchrepr.ReadHeader(record)
	return ok && !slices.ContainsFunc(h.holes, func(o hole) bool {
		return !o.isDamage(h.synced) && uint64(head.SeqNum) >= o.to
	})
}

// fault is what is wrong with a log, or nil.
func (h *history) fault(name string) error {
	err := h.faults[name]
	for _, o := range h.holes {
		if o.file == name && o.isDamage(h.synced) {
			err = errors.Join(err, errors.New(o.String()))
		}
	}
	return err
}
