package pebblestore

import (
	"encoding/binary"
	"fmt"
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
	record  []byte // what there is of a record
	inside  bool   // between a first chunk and its last
	pending int64  // bytes that could not be read, since the last chunk that could
	damage  logDamage
}

// logDamage is what could not be read of a log.
type logDamage struct {
	lost  int64 // bytes before a chunk that could be read: they were there once
	first int64 // the offset of the first of them
	tail  int64 // bytes behind the last chunk: cut off by a crash, or lost
}

// readLog calls yield with each record that can be read. The record is
// borrowed.
func readLog(r io.Reader, num uint32, yield func(record []byte) error) (logDamage, error) {
	l := &logReader{num: num}
	buf := make([]byte, logBlock)
	for at := int64(0); ; at += logBlock {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			end, err := l.block(buf[:n], at, yield)
			if err != nil {
				return l.damage, err
			}
			if end {
				return l.damage, nil
			}
		}
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			l.damage.tail = l.pending
			return l.damage, nil
		case err != nil: // the disk cannot read it
			l.bad(at, 1)
			l.damage.lost += l.pending
			return l.damage, nil
		}
	}
}

// block reads the chunks of a block, which begins at the offset at. It reports
// whether the log ends there.
func (l *logReader) block(b []byte, at int64, yield func([]byte) error) (end bool, err error) {
	for i := 0; i+7 <= len(b); {
		sum := binary.LittleEndian.Uint32(b[i:])
		size := int(binary.LittleEndian.Uint16(b[i+4:]))
		kind := b[i+6]
		if sum == 0 && size == 0 && kind == 0 {
			if len(b)-i >= 19 { // more than what no chunk fits into
				l.bad(at+int64(i), 0)
			}
			return false, nil
		}
		head := headSize(kind)
		if head == 0 || i+head+size > len(b) {
			l.bad(at+int64(i), len(b)-i)
			return false, nil
		}
		ours := head == 7 || binary.LittleEndian.Uint32(b[i+7:]) == l.num
		if sum == 0 && size == 0 && head > 7 && binary.LittleEndian.Uint32(b[i+7:]) == l.num+1 {
			return true, nil // the mark of an orderly end
		}
		next := i + head + size
		switch valid := sum == checksum(b[i+6:next]); {
		case valid && ours:
			if err := l.chunk((kind-1)%4, b[i+head:next], yield); err != nil {
				return false, err
			}
		case valid || ours: // of another log, or damaged inside: the next chunk is where it should be
			l.bad(at+int64(i), next-i)
		default:
			l.bad(at+int64(i), len(b)-i)
			return false, nil
		}
		i = next
	}
	return false, nil
}

// bad takes note of bytes that cannot be read.
func (l *logReader) bad(at int64, n int) {
	if l.pending == 0 && l.damage.lost == 0 {
		l.damage.first = at
	}
	l.pending += int64(max(n, 1))
	l.inside = false
}

// chunk adds the payload of a chunk to its record.
func (l *logReader) chunk(place byte, payload []byte, yield func([]byte) error) error {
	const full, first, middle, last = 0, 1, 2, 3
	l.damage.lost += l.pending
	l.pending = 0
	switch {
	case place == full:
		l.inside = false
		return yield(payload)
	case place == first:
		l.record, l.inside = append(l.record[:0], payload...), true
	case !l.inside: // the rest of a damaged record
		l.damage.lost += int64(len(payload))
	case place == middle:
		l.record = append(l.record, payload...)
	case place == last:
		l.inside = false
		return yield(append(l.record, payload...))
	}
	return nil
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

// describe says in words what is damaged; last says that the log is the newest
// one, where a crash may have cut off the end.
func (d logDamage) describe(last bool) (reason string, lost int64) {
	switch {
	case d.lost > 0:
		return fmt.Sprintf("damaged from byte %d on; what follows the damage was read", d.first), d.lost
	case d.tail > 0 && !last:
		return fmt.Sprintf("ends at byte %d, not in order", d.first), d.tail
	}
	return "", 0
}
