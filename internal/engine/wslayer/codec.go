package wslayer

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net/netip"

	"github.com/gobwas/ws"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/layer"
)

// maxPongs is how much output a peer may have pending that gets an answer to a ping,
// in bytes: one that does not read does not need it.
const maxPongs = 64 << 10

// codec is a WebSocket. It implements layer.Codec. With its connection it takes 64 bytes:
// there are many that do nothing. conn.Small holds its flags and the code to close with.
type codec struct {
	conn layer.Conn
	left uint32  // bytes of the frame that are still to come
	mask [4]byte // of the next byte of the frame, and those behind it
}

// flags of a codec.
type flags byte

const (
	fragmented flags = 1 << iota // a message has begun and is not at its end
	closed                       // a close frame was sent
	over                         // the request was answered, or won't be
)

func (k *codec) has(f flags) bool { return flags(k.conn.Small[0])&f != 0 }

func (k *codec) set(f flags) { k.conn.Small[0] |= byte(f) }

// closeCode is the code to close with, 0: that all is well.
func (k *codec) closeCode() ws.StatusCode {
	return ws.StatusCode(binary.BigEndian.Uint16(k.conn.Small[1:]))
}

func (k *codec) setCloseCode(b []byte) { copy(k.conn.Small[1:3], b) }

func (k *codec) layer() *Layer { return k.conn.Protocol().(*Layer) }

// viaProxy is a connection whose proxies tell whose it is.
type viaProxy struct {
	engine.Conn
	client netip.AddrPort // the zero value before they have
}

// Remote implements engine.Conn.
func (v *viaProxy) Remote() netip.AddrPort { return v.client }

// Peer implements engine.Conn.
func (v *viaProxy) Peer() engine.Peer {
	p := v.Conn.Peer()
	p.Remote = v.client
	return p
}

// Conn implements layer.Codec.
func (k *codec) Conn() *layer.Conn { return &k.conn }

// Begin implements layer.Codec.
func (k *codec) Begin(b []byte) (used int) {
	raw := k.conn.Raw()
	if v, ok := raw.(*viaProxy); ok {
		raw = v.Conn
		k.conn.Over(raw)
	}
	if r, is := plainReason(b[0]); is {
		k.fail(r, errors.New("the first bytes are no request of HTTP"))
		return len(b)
	}
	end := bytes.Index(b, []byte("\r\n\r\n")) + 4
	if end < 4 || end > maxRequest {
		if len(b) >= maxRequest {
			raw.Send([]byte(answerLong), nil)
			k.fail(TooLong, errors.New("the request is too long"))
			return len(b)
		}
		raw.Expect(maxRequest)
		return 0
	}
	l := k.layer().cfg.Listener(k.conn.Listener())
	if l == nil {
		k.fail(BadRequest, errors.New("the listener has no WebSocket any more"))
		return len(b)
	}
	peer := raw.Remote()
	r, err := upgrade(b[:end], l, peer.Addr())
	raw.Send(r.answer, nil)
	if err != nil {
		k.fail(r.reason, err)
		return len(b)
	}
	if r.client != peer.Addr() {
		k.conn.Over(&viaProxy{raw, netip.AddrPortFrom(r.client, 0)})
	}
	k.set(over)
	k.layer().counters.Done.Add(1)
	k.conn.Established()
	return end
}

// fail ends a connection that has not become a WebSocket.
func (k *codec) fail(r Reason, err error) {
	k.count(r)
	k.conn.Refuse(k.layer().cfg.Log, layer.Refusal{What: "no WebSocket", Advice: r.explain(), Reason: r.String(), Err: err})
}

func (k *codec) count(r Reason) {
	k.set(over)
	k.layer().counters.Failed[r].Add(1)
}

// Decode implements layer.Codec. Packets begin and end anywhere in frames
// [MQTT-6.0.0-2].
func (k *codec) Decode(src, dst []byte) (used, filled int, more bool, err error) {
	for used < len(src) {
		if k.left > 0 {
			n := min(len(dst)-filled, len(src)-used, int(min(k.left, math.MaxInt32)))
			if n == 0 {
				return used, filled, true, nil
			}
			copy(dst[filled:], src[used:used+n])
			ws.Cipher(dst[filled:filled+n], k.mask, 0)
			k.left -= uint32(n)
			used, filled = used+n, filled+n
			m := k.mask
			for i := range k.mask {
				k.mask[i] = m[(i+n)%4]
			}
			continue
		}
		f, n, err := readFrame(src[used:], k.has(fragmented))
		if err == errPart {
			break
		}
		if err != nil {
			k.goodbye(err)
			return used, filled, false, err
		}
		if !f.op.IsControl() {
			k.left, k.mask = uint32(f.size), f.mask
			if k.conn.Small[0] &^= byte(fragmented); !f.fin {
				k.set(fragmented)
			}
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
			return used, filled, false, io.EOF
		}
	}
	return used, filled, false, nil
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
			k.setCloseCode(payload)
		}
		return true // Goodbye answers it, behind the output
	}
	return false
}

// goodbye sends a close frame with what was wrong.
func (k *codec) goodbye(err error) {
	if v, ok := errors.AsType[*violation](err); ok && !k.has(closed) {
		k.set(closed)
		k.send(ws.OpClose, ws.NewCloseFrameBody(v.code, v.text))
	}
}

func (k *codec) send(op ws.OpCode, payload []byte) {
	var head [maxHeader]byte
	k.conn.Raw().Send(appendFrame(head[:0], op, len(payload)), payload)
}

// Encode implements layer.Codec: out and body are one frame.
func (k *codec) Encode(out, body []byte, buffer *bufpool.Buffer) {
	if k.has(closed) {
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
	if !k.has(closed) {
		k.set(closed)
		k.send(ws.OpClose, ws.NewCloseFrameBody(cmp.Or(k.closeCode(), ws.StatusNormalClosure), ""))
	}
}

// Leave and Moved implement layer.Codec.
func (k *codec) Leave() {}
func (k *codec) Moved() {}

// End implements layer.Codec.
func (k *codec) End(err error) {
	if !k.has(over) && err == nil {
		k.count(Late)
	}
}

// Peer implements layer.Codec.
func (k *codec) Peer() engine.Peer { return k.conn.Raw().Peer() }
