package tlslayer

import "midge/internal/tlsrecord"

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

// early is what came behind the handshake before the shard knew that it was over.
type early []byte

// next returns the next record, if all of it is here, and how many bytes of src it has
// used.
func (e *early) next(src []byte) (record []byte, used int) {
	for len(*e) > 0 {
		n := recordLength(*e)
		if len(*e) >= n {
			if record = (*e)[:n]; n == len(*e) {
				*e = nil
			} else {
				*e = (*e)[n:]
			}
			return record, used
		}
		part := min(n-len(*e), len(src)-used)
		if part == 0 {
			return nil, used
		}
		*e = append(*e, src[used:used+part]...)
		used += part
	}
	if n := recordLength(src); len(src) >= n {
		return src[:n], n
	}
	return nil, 0
}

// fill cuts out and then body into two parts with full records, all but the last one. It may
// write behind out.
func fill(out, body []byte) (first, second []byte) {
	n := min(tlsrecord.MaxContent-len(out)%tlsrecord.MaxContent, len(body))
	return append(out, body[:n]...), body[n:]
}
