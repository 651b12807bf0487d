package tlslayer

import (
	"crypto/tls"
	"net"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/layer"
)

// codec is TLS on a connection. It implements layer.Codec, and is the net.Conn
// that its tls.Conn reads and writes: the goroutine of the handshake while there
// is one, and then the thread of the shard.
type codec struct {
	layer   *Layer
	conn    layer.Conn
	tls     *tls.Conn
	shaking *handshake // the goroutine's, and the shard's until that has ended; nil after the handshake
	record  []byte     // for tls to read, one at a time
	rest    []byte     // what came after the handshake, before the shard knew
	more    bool       // tls may have decrypted more than was read
	over    bool       // the handshake has ended and is counted
}

// Conn implements layer.Codec.
func (k *codec) Conn() *layer.Conn { return &k.conn }

// Begin implements layer.Codec. There is no goroutine before the first record is here.
func (k *codec) Begin(b []byte) (used int) {
	raw := k.conn.Raw()
	if k.shaking != nil {
		raw.Pause()
		if k.shaking.put(b) {
			return len(b)
		}
		return 0
	}
	if b[0] != typeHandshake {
		k.fail(plainReason(b), errNotTLS)
		return len(b)
	}
	if n := recordLength(b); len(b) < n {
		raw.Expect(n)
		return 0
	}
	cfg := k.layer.cfg.TLS(k.conn.Listener())
	if cfg == nil {
		k.fail(Other, errNoConfig)
		return len(b)
	}
	h := newHandshake(b)
	h.post = func() { k.conn.Post(k.proceed) }
	k.shaking, k.tls = h, tls.Server(k, cfg)
	h.tls = k.tls
	k.layer.counters.Waiting.Add(1)
	k.layer.pool.enter(h)
	return len(b)
}

// proceed carries out what the goroutine of the handshake wants.
func (k *codec) proceed() {
	if k.over {
		return
	}
	p := k.shaking.take()
	if len(p.out) > 0 {
		k.conn.Raw().Send(p.out, nil)
	}
	switch {
	case p.err != nil:
		k.fail(reasonOf(p.err), p.err)
	case p.ended:
		k.shaken(p.rest)
	case p.resume:
		k.conn.Raw().Resume()
	}
}

// shaken ends a handshake that has succeeded.
func (k *codec) shaken(rest []byte) {
	c := &k.layer.counters
	c.Waiting.Add(-1)
	c.Done.Add(1)
	k.over, k.shaking, k.rest = true, nil, rest
	if k.tls.ConnectionState().DidResume {
		c.Resumed.Add(1)
	}
	k.conn.Established()
}

// fail ends a connection that did not shake hands.
func (k *codec) fail(r Reason, err error) {
	k.count(r)
	k.conn.Refuse(k.layer.cfg.Log, layer.Refusal{What: "TLS handshake failed", Advice: r.explain(), Reason: r.String(), Err: err})
}

// count counts the end of a handshake that did not succeed.
func (k *codec) count(r Reason) {
	k.over = true
	if k.shaking != nil {
		k.shaking.stop(net.ErrClosed)
		k.layer.counters.Waiting.Add(-1)
	}
	k.layer.counters.Failed[r].Add(1)
}

// Decode implements layer.Codec. tls gets one record at a time, when it has decrypted
// the one before to its end: so it holds no more than that.
func (k *codec) Decode(src, dst []byte) (used, filled int, err error) {
	for filled < len(dst) {
		if !k.more {
			record, n := k.next(src[used:])
			if used += n; record == nil {
				if rest := src[used:]; len(rest) > 0 {
					k.conn.Raw().Expect(recordLength(rest))
				}
				break
			}
			k.record = record
		}
		n, err := k.tls.Read(dst[filled:])
		filled += n
		k.more = err == nil && filled == len(dst)
		if err != nil && err != errNoRecord {
			return used, filled, err
		}
	}
	return used, filled, nil
}

// next returns the next record, if all of it is here, and how many bytes of src it has
// used.
func (k *codec) next(src []byte) (record []byte, used int) {
	for len(k.rest) > 0 {
		n := recordLength(k.rest)
		if len(k.rest) >= n {
			if record = k.rest[:n]; n == len(k.rest) {
				k.rest = nil
			} else {
				k.rest = k.rest[n:]
			}
			return record, used
		}
		part := min(n-len(k.rest), len(src)-used)
		if part == 0 {
			return nil, used
		}
		k.rest = append(k.rest, src[used:used+part]...)
		used += part
	}
	if n := recordLength(src); len(src) >= n {
		return src[:n], n
	}
	return nil, 0
}

// Encode implements layer.Codec. Records are full where there is enough to fill them.
func (k *codec) Encode(out, body []byte, _ *bufpool.Buffer) {
	const full = 16 << 10
	if len(body) > 0 {
		room := full - len(out)%full
		n := min(room, len(body))
		out = append(out, body[:n]...)
		body = body[n:]
	}
	k.tls.Write(out) // an error is that of an alert before; the connection ends
	if len(body) > 0 {
		k.tls.Write(body)
	}
}

// Goodbye implements layer.Codec.
func (k *codec) Goodbye() { k.tls.CloseWrite() }

// Moved implements layer.Codec.
func (k *codec) Moved() {
	if k.shaking != nil && !k.over {
		k.shaking.notifyAgain()
	}
}

// End implements layer.Codec.
func (k *codec) End(err error) {
	k.rest = nil
	switch {
	case k.over:
	case err == nil:
		k.count(Late)
	case k.shaking != nil: // who says nothing has not begun
		k.count(Gone)
	}
}

// Peer implements layer.Codec.
func (k *codec) Peer() engine.Peer {
	p := k.conn.Raw().Peer()
	if k.tls != nil && k.shaking == nil {
		state := k.tls.ConnectionState()
		p.TLS = &state
	}
	return p
}

// noRecord is the error of a read for which there is no record. crypto/tls goes on after one
// that is temporary.
type noRecord struct{}

func (noRecord) Error() string   { return "no record has arrived" }
func (noRecord) Timeout() bool   { return true }
func (noRecord) Temporary() bool { return true }

var errNoRecord error = noRecord{}

// Read implements net.Conn.
func (k *codec) Read(b []byte) (int, error) {
	if h := k.shaking; h != nil {
		return h.read(b)
	}
	if len(k.record) == 0 {
		return 0, errNoRecord
	}
	n := copy(b, k.record)
	k.record = k.record[n:]
	return n, nil
}

// Write implements net.Conn.
func (k *codec) Write(b []byte) (int, error) {
	if h := k.shaking; h != nil {
		return h.write(b)
	}
	k.conn.Raw().Send(b, nil)
	return len(b), nil
}

// Close implements net.Conn.
func (k *codec) Close() error { return nil }

// LocalAddr implements net.Conn.
func (k *codec) LocalAddr() net.Addr { return address{} }

// RemoteAddr implements net.Conn.
func (k *codec) RemoteAddr() net.Addr { return address{} }

// SetDeadline implements net.Conn.
func (k *codec) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (k *codec) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (k *codec) SetWriteDeadline(time.Time) error { return nil }

// address stands for that of a connection in memory.
type address struct{}

func (address) Network() string { return "memory" }
func (address) String() string  { return "memory" }
