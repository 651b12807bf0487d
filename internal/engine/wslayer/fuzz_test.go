package wslayer

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/gobwas/ws"
)

// FuzzFrame holds the reading of frame headers to that of the library.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0x82, 0x81, 1, 2, 3, 4, 5}, false)
	f.Add([]byte{0x00, 0xfe, 1, 0, 1, 2, 3, 4}, true)
	f.Add([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 1, 2, 3, 4}, false)
	f.Fuzz(func(t *testing.T, b []byte, fragmented bool) {
		got, n, err := readFrame(b, fragmented)
		h, want := ws.ReadHeader(bytes.NewReader(b))
		state := ws.StateServerSide
		if fragmented {
			state |= ws.StateFragmented
		}
		switch {
		case err == errPart:
			if want == nil {
				t.Fatalf("the library has read all of % x", b)
			}
		case err != nil:
			if want == nil && ws.CheckHeader(h, state) == nil && h.OpCode != ws.OpText && h.Masked && h.Length>>32 == 0 {
				t.Fatalf("% x: %v; the library has %+v", b, err, h)
			}
		case want != nil:
			t.Fatalf("% x: the library says %v", b, want)
		case ws.CheckHeader(h, state) != nil:
			t.Fatalf("% x: the library says %v", b, ws.CheckHeader(h, state))
		case n != ws.HeaderSize(h) && h.Length > 0xffff, h.Fin != got.fin, h.OpCode != got.op, uint64(h.Length) != got.size, h.Mask != got.mask:
			t.Fatalf("% x: %+v in %d bytes; the library has %+v", b, got, n, h)
		}
	})
}

// FuzzRequest answers anything with something short.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\nX-Forwarded-For: 192.0.2.1, ::1\r\n\r\n"), "/mqtt")
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"), "")
	l := Listener{Origins: []string{"https://example.org"}, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	f.Fuzz(func(t *testing.T, b []byte, path string) {
		l := l
		l.Path = path
		r, err := upgrade(b, &l, netip.MustParseAddr("127.0.0.1"))
		if len(r.answer) == 0 || len(r.answer) > 1000 {
			t.Fatalf("an answer of %d bytes", len(r.answer))
		}
		if ok := bytes.HasPrefix(r.answer, []byte("HTTP/1.1 101 ")); ok != (err == nil) {
			t.Fatalf("%v, and the answer is %q", err, r.answer)
		}
	})
}
