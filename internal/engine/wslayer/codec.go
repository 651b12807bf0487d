package wslayer

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net/netip"

	"github.com/gobwas/ws"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/layer"
)

// maxPongs is how much output a peer may have pending that gets an answer to a ping,
// in bytes: one that does not read does not need it.
const maxPongs = 64 << 10

// codec is a WebSocket. It implements layer.Codec.
type codec struct {
	layer      *Layer
	conn       *layer.Conn
	client     *netip.AddrPort // that proxies tell of, nil for the raw connection's
	left       uint64          // bytes of the frame that are still to come
	mask       [4]byte
	at         uint8         // in the mask
	fragmented bool          // a message has begun and is not at its end
	closed     bool          // a close frame was sent
	code       ws.StatusCode // to close with, 0: that all is well
	over       bool          // the request was answered, or won't be
}

// Begin implements layer.Codec.
func (k *codec) Begin(b []byte) (used int) {
	if r, is := plainReason(b[0]); is {
		k.fail(r, errors.New("the first bytes are no request of HTTP"))
		return len(b)
	}
	end := bytes.Index(b, []byte("\r\n\r\n")) + 4
	if end < 4 || end > maxRequest {
		if len(b) >= maxRequest {
			k.conn.Raw().Send([]byte(answerLong), nil)
			k.fail(TooLong, errors.New("the request is too long"))
			return len(b)
		}
		k.conn.Raw().Expect(maxRequest)
		return 0
	}
	l := k.layer.cfg.Listener(k.conn.Listener())
	if l == nil {
		k.fail(BadRequest, errors.New("the listener has no WebSocket any more"))
		return len(b)
	}
	peer := k.conn.Raw().Remote()
	r, err := upgrade(b[:end], l, peer.Addr())
	k.conn.Raw().Send(r.answer, nil)
	if err != nil {
		k.fail(r.reason, err)
		return len(b)
	}
	if r.client != peer.Addr() {
		client := netip.AddrPortFrom(r.client, 0)
		k.client = &client
	}
	k.over = true
	k.layer.counters.Done.Add(1)
	k.conn.Established()
	return end
}

// fail ends a connection that has not become a WebSocket.
func (k *codec) fail(r Reason, err error) {
	k.count(r)
	k.conn.Refuse(k.layer.cfg.Log, layer.Refusal{What: "no WebSocket", Advice: r.explain(), Reason: r.String(), Err: err})
}

func (k *codec) count(r Reason) {
	k.over = true
	k.layer.counters.Failed[r].Add(1)
}

// Decode implements layer.Codec. Packets begin and end anywhere in frames
// [MQTT-6.0.0-2].
func (k *codec) Decode(src, dst []byte) (used, filled int, err error) {
	for used < len(src) {
		if k.left > 0 {
			n := copy(dst[filled:], src[used:])
			if uint64(n) > k.left {
				n = int(k.left)
			}
			if n == 0 {
				break
			}
			ws.Cipher(dst[filled:filled+n], k.mask, int(k.at))
			k.at = uint8(int(k.at)+n) % 4
			k.left -= uint64(n)
			used, filled = used+n, filled+n
			continue
		}
		f, n, err := readFrame(src[used:], k.fragmented)
		if err == errPart {
			break
		}
		if err != nil {
			k.goodbye(err)
			return used, filled, err
		}
		if !f.op.IsControl() {
			k.left, k.mask, k.at, k.fragmented = f.size, f.mask, 0, !f.fin
			used += n
			continue
		}
		size := int(f.size)
		if len(src)-used < n+size {
			break
		}
		payload := append(make([]byte, 0, maxControl), src[used+n:used+n+size]...)
		used += n + size
		ws.Cipher(payload, f.mask, 0)
		if k.control(f.op, payload) {
			return used, filled, io.EOF
		}
	}
	return used, filled, nil
}

// control answers a control frame, and reports whether it was the last.
func (k *codec) control(op ws.OpCode, payload []byte) (last bool) {
	switch op {
	case ws.OpPing:
		if k.conn.Pending() < maxPongs {
			k.send(ws.OpPong, payload)
		}
	case ws.OpClose:
		if len(payload) >= 2 {
			k.code = ws.StatusCode(payload[0])<<8 | ws.StatusCode(payload[1])
		}
		return true // Goodbye answers it, behind the output
	}
	return false
}

// goodbye sends a close frame with what was wrong.
func (k *codec) goodbye(err error) {
	if v, ok := errors.AsType[*violation](err); ok && !k.closed {
		k.closed = true
		k.send(ws.OpClose, ws.NewCloseFrameBody(v.code, v.text))
	}
}

func (k *codec) send(op ws.OpCode, payload []byte) {
	var head [maxHeader]byte
	k.conn.Raw().Send(appendFrame(head[:0], op, len(payload)), payload)
}

// Encode implements layer.Codec: out and body are one frame.
func (k *codec) Encode(out, body []byte, buffer *bufpool.Buffer) {
	if k.closed {
		return // nothing follows a close frame
	}
	var head [maxHeader]byte
	raw := k.conn.Raw()
	raw.Send(appendFrame(head[:0], ws.OpBinary, len(out)+len(body)), out)
	switch {
	case len(body) == 0:
	case buffer == nil:
		raw.Send(nil, body)
	default:
		raw.SendShared(nil, body, buffer)
	}
}

// Goodbye implements layer.Codec.
func (k *codec) Goodbye() {
	if !k.closed {
		k.closed = true
		k.send(ws.OpClose, ws.NewCloseFrameBody(cmp.Or(k.code, ws.StatusNormalClosure), ""))
	}
}

// Moved implements layer.Codec.
func (k *codec) Moved() {}

// End implements layer.Codec.
func (k *codec) End(err error) {
	if !k.over && err == nil {
		k.count(Late)
	}
}

// Remote implements layer.Codec.
func (k *codec) Remote() netip.AddrPort {
	if k.client != nil {
		return *k.client
	}
	return k.conn.Raw().Remote()
}

// Peer implements layer.Codec.
func (k *codec) Peer() engine.Peer {
	p := k.conn.Raw().Peer()
	p.Remote = k.Remote()
	return p
}
