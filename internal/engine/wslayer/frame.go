package wslayer

import (
	"encoding/binary"
	"errors"

	"github.com/gobwas/ws"
)

// frame is the header of a frame.
type frame struct {
	fin  bool
	op   ws.OpCode
	size uint64 // of the payload
	mask [4]byte
}

const (
	maxHeader  = 14
	maxControl = 125 // bytes of a control frame's payload (RFC 6455 section 5.5)
)

// violation is an error of the peer with the status code to close with.
type violation struct {
	code ws.StatusCode
	text string
}

func (v *violation) Error() string { return "WebSocket: " + v.text }

func violates(code ws.StatusCode, text string) error { return &violation{code, text} }

// errPart says that not all of a header is there.
var errPart = errors.New("part of a header")

// readFrame reads a header. It returns how long it is, or errPart. It does without ws.ReadHeader, which
// allocates for each frame.
func readFrame(b []byte, fragmented bool) (f frame, n int, err error) {
	if len(b) < 2 {
		return f, 0, errPart
	}
	f.fin, f.op = b[0]&0x80 != 0, ws.OpCode(b[0]&0x0f)
	n = 2
	switch short := b[1] & 0x7f; short {
	case 126:
		if n += 2; len(b) >= n {
			f.size = uint64(binary.BigEndian.Uint16(b[2:]))
		}
	case 127:
		if n += 8; len(b) >= n {
			f.size = binary.BigEndian.Uint64(b[2:])
		}
	default:
		f.size = uint64(short)
	}
	switch {
	case b[0]&0x70 != 0:
		return f, n, violates(ws.StatusProtocolError, "a frame with bits of an extension that was not agreed on")
	case b[1]&0x80 == 0:
		return f, n, violates(ws.StatusProtocolError, "a frame without a mask")
	case f.op.IsReserved():
		return f, n, violates(ws.StatusProtocolError, "a frame with an unknown code")
	case f.op.IsControl() && (!f.fin || b[1]&0x7f > maxControl):
		return f, n, violates(ws.StatusProtocolError, "a control frame in parts, or longer than 125 bytes")
	case f.op == ws.OpText:
		return f, n, violates(ws.StatusUnsupportedData, "a text frame [MQTT-6.0.0-1]")
	case f.op == ws.OpContinuation && !fragmented:
		return f, n, violates(ws.StatusProtocolError, "a continuation of nothing")
	case f.op == ws.OpBinary && fragmented:
		return f, n, violates(ws.StatusProtocolError, "a message within another one")
	}
	if len(b) < n+4 {
		return f, n, errPart
	}
	f.mask = [4]byte(b[n:])
	switch n += 4; {
	case f.size>>63 != 0:
		return f, n, violates(ws.StatusProtocolError, "a frame longer than there may be")
	case f.size>>32 != 0:
		return f, n, violates(ws.StatusMessageTooBig, "a frame of 4 GiB or more")
	}
	return f, n, nil
}

// appendFrame appends the header of a frame of ours with so many bytes.
func appendFrame(b []byte, op ws.OpCode, size int) []byte {
	b = append(b, 0x80|byte(op))
	switch {
	case size <= maxControl:
		return append(b, byte(size))
	case size <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(size))
	}
	return binary.BigEndian.AppendUint64(append(b, 127), uint64(size))
}
