package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// maxVarint is the largest variable byte integer (MQTT 5.0 section 1.5.5).
const maxVarint = 1<<28 - 1

// varint returns the variable byte integer that b begins with and how many
// bytes it has: 0 if some are missing, -1 if there are more than four.
// Encodings that are longer than need be are read: MQTT-1.5.5-1 binds the
// encoder, and section 1.5.5 rejects only a fifth byte.
func varint(b []byte) (n uint32, used int) {
	for i := range min(len(b), 4) {
		n |= uint32(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return n, i + 1
		}
	}
	if len(b) < 4 {
		return 0, 0
	}
	return 0, -1
}

// varintSize is the number of bytes that appendVarint appends.
func varintSize(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

func appendVarint(b []byte, n int) []byte {
	for ; n > 0x7f; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// appendBinary appends s with its length in two bytes in front: binary data,
// and UTF-8 strings.
func appendBinary(b, s []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// insertLength puts the length of b[at:] in front of it. Packets that are
// encoded rarely save themselves the computation of their size this way.
func insertLength(b []byte, at int) []byte {
	n := len(b) - at
	var length [4]byte
	head := appendVarint(length[:0], n)
	b = append(b, head...) // makes room
	copy(b[at+len(head):], b[at:at+n])
	copy(b[at:], head)
	return b
}

// validString reports whether s is a UTF-8 Encoded String: well-formed, without
// surrogates and without U+0000. A byte order mark is a character like others
// (MQTT-1.5.4-3).
func validString(s []byte) bool {
	return utf8.Valid(s) && bytes.IndexByte(s, 0) < 0
}

// hasWildcard reports whether a topic name contains # or +.
func hasWildcard(name []byte) bool {
	return bytes.IndexByte(name, '#') >= 0 || bytes.IndexByte(name, '+') >= 0
}

// reader reads the body of a packet field by field. After the first fault it
// returns zero values, so that callers look at err once, at the end.
type reader struct {
	v   Version
	t   Type
	b   []byte // what has not been read yet
	err error
}

// fail keeps the first fault.
func (r *reader) fail(code ReasonCode, id5, id311, detail string) {
	if r.err == nil {
		r.err = newFault(r.v, r.t, code, id5, id311, detail)
		r.b = nil
	}
}

func (r *reader) malformed(detail string) { r.fail(MalformedPacket, "", "", detail) }

// done returns the first fault; bytes that nobody read are one.
func (r *reader) done() error {
	if len(r.b) > 0 {
		r.malformed("packet is longer than its contents")
	}
	return r.err
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.malformed("packet ends within a field")
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) byte() byte {
	if s := r.take(1); s != nil {
		return s[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if s := r.take(2); s != nil {
		return binary.BigEndian.Uint16(s)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if s := r.take(4); s != nil {
		return binary.BigEndian.Uint32(s)
	}
	return 0
}

func (r *reader) varint() uint32 {
	n, used := varint(r.b)
	if used <= 0 {
		r.fail(MalformedPacket, "1.5.5", "", "variable byte integer does not end")
		return 0
	}
	r.b = r.b[used:]
	return n
}

func (r *reader) binary() []byte { return r.take(int(r.uint16())) }

// str reads a UTF-8 Encoded String. id5 and id311 are the statements that ask
// for it.
func (r *reader) str(id5, id311 string) []byte {
	s := r.binary()
	if !validString(s) {
		if utf8.Valid(s) {
			id5, id311 = "MQTT-1.5.4-2", "MQTT-1.5.3-2"
		}
		r.fail(MalformedPacket, id5, id311, "string is not well-formed UTF-8 or contains U+0000")
	}
	return s
}

// id reads a packet identifier, which is never 0.
func (r *reader) id() ID {
	id := ID(r.uint16())
	if id == 0 {
		r.fail(MalformedPacket, "MQTT-2.2.1-3", "MQTT-2.3.1-1", "packet identifier is 0")
	}
	return id
}
