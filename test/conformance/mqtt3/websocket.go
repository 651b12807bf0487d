package mqtt3

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"midge/test/wire"
)

// frames is a WebSocket as frames.
type frames struct {
	*websocket.Conn
	t *testing.T
}

// openWebSocket opens a WebSocket to a broker of its own, offering subprotocols.
func openWebSocket(t *testing.T, subprotocols ...string) frames {
	t.Helper()
	address := serve(t, tuning(), kind{transport: web})
	dialer := websocket.Dialer{Subprotocols: subprotocols}
	ws, answer, err := dialer.Dial(address+path, nil)
	if err != nil {
		t.Fatal(err, answer)
	}
	t.Cleanup(func() { ws.Close() })
	ws.SetReadDeadline(time.Now().Add(patience))
	return frames{ws, t}
}

// send sends frames of one kind.
func (f frames) send(kind int, all ...[]byte) {
	f.t.Helper()
	for _, b := range all {
		if err := f.WriteMessage(kind, b); err != nil {
			f.t.Fatal(err)
		}
	}
}

// packets reads packets, in binary frames, until there are so many. It returns their
// first bytes.
func (f frames) packets(n int) (first []byte) {
	f.t.Helper()
	var in []byte
	for len(first) < n {
		kind, b, err := f.ReadMessage()
		if err != nil || kind != websocket.BinaryMessage {
			f.t.Fatalf("a frame of kind %d, %v; want a binary one", kind, err)
		}
		in = append(in, b...)
		for {
			_, size, err := wire.Split(in)
			if err != nil {
				f.t.Fatal(err)
			}
			if size == 0 {
				break
			}
			first, in = append(first, in[0]), in[size:]
		}
	}
	if len(in) > 0 {
		f.t.Errorf("% x behind the last packet", in)
	}
	return first
}

// BinaryFrames proves that a broker answers a CONNECT in binary frames, and closes the
// connection for a text frame.
func BinaryFrames(t *testing.T, connect []byte) {
	f := openWebSocket(t, "mqtt")
	f.send(websocket.BinaryMessage, connect)
	if got := f.packets(1); got[0] != Connack {
		t.Fatalf("got % x, want CONNACK", got)
	}
	f.send(websocket.TextMessage, Pingreq())
	_, b, err := f.ReadMessage()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != websocket.CloseUnsupportedData {
		t.Errorf("after a text frame: % x, %v; want the end, with code %d", b, err, websocket.CloseUnsupportedData)
	}
}

// FramesOfAnySize proves that packets need not begin and end with frames: it sends the same
// packets in frames of one byte, of three, and in one frame.
func FramesOfAnySize(t *testing.T, connect []byte) {
	const pings = 20
	b := slices.Concat(connect, bytes.Repeat(Pingreq(), pings))
	for _, size := range []int{1, 3, len(b)} {
		f := openWebSocket(t, "mqtt")
		for rest := b; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			f.send(websocket.BinaryMessage, rest[:min(size, len(rest))])
		}
		want := append([]byte{Connack}, bytes.Repeat([]byte{Pingresp}, pings)...)
		if got := f.packets(len(want)); !bytes.Equal(got, want) {
			t.Errorf("frames of %d bytes: got packets that begin with % x, want % x", size, got, want)
		}
	}
}

// Subprotocol proves that a broker selects mqtt of what a client offers.
func Subprotocol(t *testing.T, connect []byte) {
	f := openWebSocket(t, "wamp", "mqtt", "mqtt2")
	if got := f.Subprotocol(); got != "mqtt" {
		t.Errorf("the subprotocol is %q, want mqtt", got)
	}
	f.send(websocket.BinaryMessage, connect)
	f.packets(1)
}
