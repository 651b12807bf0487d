package tlslayer

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/layer"
	"midge/internal/tlsrecord"
)

// standard is TLS on a connection by crypto/tls. It implements mode, and is the net.Conn
// that its tls.Conn reads and writes: the goroutine of the handshake while there
// is one, and then the thread of the shard, unless compact takes over.
type standard struct {
	layer      *Layer
	codec      *codec // that has this mode
	conn       *layer.Conn
	tls        *tls.Conn
	shaking    *handshake         // the goroutine's, and the shard's until that has ended; nil after the handshake
	secrets    *tlsrecord.Secrets // that the handshake tells; nil: nobody wants to know
	record     []byte             // for tls to read, one at a time
	early      early
	unfinished unfinished
	more       bool // tls may have decrypted more than was read
	over       bool // the handshake has ended and is counted
}

// Begin implements mode. There is no goroutine before the first record is here.
func (k *standard) Begin(b []byte) (used int) {
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
	if k.layer.cfg.Compact(k.conn.Listener()) {
		k.secrets = &tlsrecord.Secrets{}
	}
	h := newHandshake(b)
	h.secrets = k.secrets
	h.post = func() { k.conn.Post(k.proceed) }
	k.shaking, k.tls = h, tls.Server(k, cfg)
	h.tls = k.tls
	k.layer.counters.Waiting.Add(1)
	k.layer.pool.enter(h)
	return len(b)
}

// proceed carries out what the goroutine of the handshake wants.
func (k *standard) proceed() {
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

// challengeProtocol is what an authority agrees on by ALPN that looks whether a name is ours
// (RFC 8737): the handshake is all that it wants.
const challengeProtocol = "acme-tls/1"

var errChallenge = errors.New("an authority has looked whether the name is ours")

// shaken ends a handshake that has succeeded.
func (k *standard) shaken(rest []byte) {
	c := &k.layer.counters
	c.Waiting.Add(-1)
	c.Done.Add(1)
	k.over, k.shaking, k.early = true, nil, rest
	state := k.tls.ConnectionState()
	if state.DidResume {
		c.Resumed.Add(1)
	}
	if state.NegotiatedProtocol == challengeProtocol {
		k.conn.Fail(errChallenge) // nobody has asked for a client certificate
		return
	}
	if k.secrets != nil && state.Version == tls.VersionTLS13 {
		k.makeCompact(&state)
	}
	k.conn.Established()
}

// makeCompact has compact go on with the connection, if that can.
func (k *standard) makeCompact(state *tls.ConnectionState) {
	records, err := tlsrecord.New(state.CipherSuite, k.secrets)
	if k.secrets = nil; err != nil {
		k.layer.cfg.Log.Debug("a connection keeps the record layer of crypto/tls", "address", k.conn.Remote(), "error", err)
		return
	}
	k.layer.counters.Compact.Add(1)
	k.codec.mode = &compact{layer: k.layer, conn: k.conn, tls: records, state: state, early: k.early}
}

// Secrets implements tlsrecord.Teller.
func (k *standard) Secrets() *tlsrecord.Secrets { return k.secrets }

// fail ends a connection that did not shake hands.
func (k *standard) fail(r Reason, err error) {
	k.count(r)
	k.conn.Refuse(k.layer.cfg.Log, layer.Refusal{What: "TLS handshake failed", Advice: r.explain(), Reason: r.String(), Err: err})
}

// count counts the end of a handshake that did not succeed.
func (k *standard) count(r Reason) {
	k.over = true
	if k.shaking != nil {
		k.shaking.stop(net.ErrClosed)
		k.layer.counters.Waiting.Add(-1)
	}
	k.layer.counters.Failed[r].Add(1)
}

// Decode implements mode. tls gets one record at a time, when it has decrypted
// the one before to its end: so it holds no more than that.
func (k *standard) Decode(src, dst []byte) (used, filled int, more bool, err error) {
	for filled < len(dst) {
		if !k.more {
			record, n := k.early.next(src[used:])
			if used += n; record == nil {
				rest := src[used:]
				if len(rest) > 0 {
					k.conn.Raw().Expect(recordLength(rest))
				}
				k.layer.await(k.conn, &k.unfinished, rest, used > 0)
				break
			}
			k.record = record
		}
		n, err := k.tls.Read(dst[filled:])
		filled += n
		k.more = err == nil && filled == len(dst)
		if err != nil && err != errNoRecord {
			return used, filled, false, err
		}
	}
	return used, filled, k.more, nil
}

// Encode implements mode. Records are full where there is enough to fill them.
func (k *standard) Encode(out, body []byte, _ *bufpool.Buffer) {
	out, body = fill(out, body)
	k.tls.Write(out) // an error is that of an alert before; the connection ends
	if len(body) > 0 {
		k.tls.Write(body)
	}
}

// Goodbye implements mode.
func (k *standard) Goodbye() { k.tls.CloseWrite() }

// Leave implements mode.
func (k *standard) Leave() { k.layer.forget(k.conn, &k.unfinished) }

// Moved implements mode.
func (k *standard) Moved() {
	if k.shaking != nil && !k.over {
		k.shaking.notifyAgain()
	}
}

// End implements mode.
func (k *standard) End(err error) {
	k.early = nil
	k.Leave()
	switch {
	case k.over:
	case err == nil:
		k.count(Late)
	case k.shaking != nil: // who says nothing has not begun
		k.count(Gone)
	}
}

// Peer implements mode.
func (k *standard) Peer() engine.Peer {
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
func (k *standard) Read(b []byte) (int, error) {
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
func (k *standard) Write(b []byte) (int, error) {
	if h := k.shaking; h != nil {
		return h.write(b)
	}
	k.conn.Raw().Send(b, nil)
	return len(b), nil
}

// Close implements net.Conn.
func (k *standard) Close() error { return nil }

// LocalAddr implements net.Conn.
func (k *standard) LocalAddr() net.Addr { return address{} }

// RemoteAddr implements net.Conn.
func (k *standard) RemoteAddr() net.Addr { return address{} }

// SetDeadline implements net.Conn.
func (k *standard) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (k *standard) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (k *standard) SetWriteDeadline(time.Time) error { return nil }

// address stands for that of a connection in memory.
type address struct{}

func (address) Network() string { return "memory" }
func (address) String() string  { return "memory" }
