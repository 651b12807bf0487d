package tlslayer

const (
	headerBytes = 5 // of a record: type, version, length

	// maxRecord is the largest length that a header may name (RFC 5246 section 6.2.3; RFC 8446
	// has less).
	maxRecord = 16<<10 + 2048

	typeHandshake = 22
)

// recordLength is the length of the record that b begins with; that of its header if that is
// not all there, or names more than there may be, which crypto/tls refuses.
func recordLength(b []byte) int {
	if len(b) < headerBytes {
		return headerBytes
	}
	n := int(b[3])<<8 | int(b[4])
	if n > maxRecord {
		return headerBytes
	}
	return headerBytes + n
}

// limit cuts a stream at the ends of its records.
type limit struct {
	header [headerBytes]byte
	got    int // of the header
	left   int // of the record's contents
}

// take copies from in to b, not beyond the end of a header or a record.
func (l *limit) take(b, in []byte) int {
	if l.left == 0 {
		n := copy(b, in[:min(len(in), headerBytes-l.got)])
		copy(l.header[l.got:], b[:n])
		if l.got += n; l.got == headerBytes {
			l.got = 0
			l.left = recordLength(l.header[:]) - headerBytes
		}
		return n
	}
	n := copy(b, in[:min(len(in), l.left)])
	l.left -= n
	return n
}
