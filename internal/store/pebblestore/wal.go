package pebblestore

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// Pebble's logs and manifests are blocks of 32 KiB with chunks in them. A
// chunk has a checksum (4 bytes), the length of its payload (2), a kind (1)
// and, by the kind, the number of the log (4) and the offset in the log up to
// which everything was synced when it was written (8). A record is one chunk,
// or a first, some middle and a last one. No chunk spans blocks. Pebble's own
// reader ends at the first damage; this one goes on behind it.

const logBlock = 32 << 10

// logReader reads the records of one log, past damage.
type logReader struct {
	num     uint32 // of the log: chunks of others are what an older use of the file left
	yield   func(record []byte, before skipped) error
	record  []byte  // what was read of it
	inside  bool    // between a first chunk and its last
	skipped skipped // since the last record
}

// skipped is what could not be read of a log between two records.
type skipped struct {
	at    int64 // the offset of the first byte
	bytes int64
}

// readLog calls yield with each record that can be read, and what could not be
// read in front of it. The record is borrowed. It returns what could not be
// read behind the last record, and whether the log was closed in order.
func readLog(r io.Reader, num uint32, yield func(record []byte, before skipped) error) (tail skipped, closed bool, err error) {
	l := &logReader{num: num, yield: yield}
	buf := make([]byte, logBlock)
	for at := int64(0); ; at += logBlock {
		n, fault := io.ReadFull(r, buf)
		if n > 0 {
			if closed, err = l.block(buf[:n], at); closed || err != nil {
				return l.skipped, closed, err
			}
		}
		if fault != nil {
			if fault != io.EOF && fault != io.ErrUnexpectedEOF { // the disk cannot read it
				l.skip(at, logBlock)
			}
			return l.skipped, false, nil
		}
	}
}

// block reads the chunks of a block, which begins at the offset at. It reports
// whether the log ends there.
func (l *logReader) block(b []byte, at int64) (end bool, err error) {
	for i := 0; i+7 <= len(b); {
		sum := binary.LittleEndian.Uint32(b[i:])
		size := int(binary.LittleEndian.Uint16(b[i+4:]))
		kind := b[i+6]
		if sum == 0 && size == 0 && kind == 0 {
			if len(b)-i >= 19 { // more than what no chunk fits into
				l.skip(at+int64(i), 1)
			}
			return false, nil
		}
		head := headSize(kind)
		if head == 0 || i+head+size > len(b) {
			l.skip(at+int64(i), len(b)-i)
			return false, nil
		}
		ours := head == 7 || binary.LittleEndian.Uint32(b[i+7:]) == l.num
		if sum == 0 && size == 0 && head > 7 && binary.LittleEndian.Uint32(b[i+7:]) == l.num+1 {
			return true, nil // the mark of an orderly end
		}
		next := i + head + size
		switch valid := sum == checksum(b[i+6:next]); {
		case valid && ours:
			if err := l.chunk((kind-1)%4, b[i+head:next], at+int64(i)); err != nil {
				return false, err
			}
		case valid || ours: // of another log, or damaged inside: the next chunk is where it should be
			l.skip(at+int64(i), next-i)
		default:
			l.skip(at+int64(i), len(b)-i)
			return false, nil
		}
		i = next
	}
	return false, nil
}

// skip notes bytes that cannot be read. What was read of a record is lost with
// them.
func (l *logReader) skip(at int64, n int) {
	if l.skipped.bytes == 0 {
		l.skipped.at = at
	}
	if l.inside {
		l.skipped.bytes += int64(len(l.record))
	}
	l.skipped.bytes += int64(n)
	l.inside = false
}

// chunk adds the payload of a chunk to its record.
func (l *logReader) chunk(place byte, payload []byte, at int64) error {
	const full, first, middle = 0, 1, 2
	if l.inside && (place == full || place == first) {
		l.skip(at, 0) // the record before has no end
	}
	switch {
	case place == full:
		l.record = append(l.record[:0], payload...)
	case place == first:
		l.record, l.inside = append(l.record[:0], payload...), true
		return nil
	case !l.inside:
		l.skip(at, len(payload)) // the rest of a damaged record
		return nil
	default:
		l.record = append(l.record, payload...)
		if place == middle {
			return nil
		}
	}
	before := l.skipped
	l.inside, l.skipped = false, skipped{}
	return l.yield(l.record, before)
}

// headSize is the size of the header of a chunk, or 0 for no kind of chunk.
func headSize(kind byte) int {
	switch {
	case kind >= 1 && kind <= 4:
		return 7
	case kind >= 5 && kind <= 8:
		return 11
	case kind >= 9 && kind <= 12:
		return 19
	}
	return 0
}

// checksum is CRC-32C, turned as Pebble does.
func checksum(b []byte) uint32 {
	c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (c>>15 | c<<17) + 0xa282ead8
}
