package db

import (
	"encoding/binary"
	"time"
)

// reader takes fields off the front of bytes. After the first one that is not
// there it is broken, and gives zeros.
type reader struct {
	b      []byte
	broken bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.broken, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// memory64 is a number as in the memory of the machine.
func (r *reader) memory64() uint64 {
	if v := r.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

// fill takes what fills a structure up to the alignment of the machine, up to the
// last n bytes.
func (r *reader) fill(n int) { r.take(min(max(len(r.b)-n, 0), 7)) }

// time is a time of day in seconds; 0 is none.
func (r *reader) time() (t time.Time, ok bool) {
	switch s := int64(r.memory64()); {
	case s == 0:
		return time.Time{}, true
	case s < 0 || s > latest:
		return time.Time{}, false
	default:
		return time.Unix(s, 0), true
	}
}

// latest is the year 2242, which is within the range of a time in nanoseconds. Whatever
// ends later asked for that many seconds, 136 years at most.
const latest = 8_589_934_592
