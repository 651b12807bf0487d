package tlslayer

import (
	"crypto/tls"
	"errors"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/layer"
	"midge/internal/tlsrecord"
)

const (
	// sealBytes are encrypted at once: some full records.
	sealBytes = 3 * tlsrecord.MaxContent

	// coolAfter a connection that was silent for so long, or up to twice as long, drops its
	// ciphers. To make them takes 0.4 µs.
	coolAfter = time.Second
)

// shard is what the layer has for each shard.
type shard struct {
	sealed *bufpool.Buffer // that this turn encrypts to, nil: nothing was encrypted yet
	warm   []*compact      // that have ciphers
	cooled time.Duration   // when it was looked which of them were silent

	unfinished []waiting     // have a part of a record
	looked     time.Duration // when it was looked which of them wait too long
	_          [64]byte      // the next shard's lie on another cache line
}

// compact is TLS 1.3 on a connection after the handshake, by package tlsrecord. It implements
// mode.
type compact struct {
	layer      *Layer
	conn       *layer.Conn
	tls        *tlsrecord.Conn
	state      *tls.ConnectionState
	early      early
	remaining  *bufpool.Buffer // has data of a record for which there was no room; nil: none
	from, to   uint16          // where in remaining
	warm       int32           // the index in shard.warm, plus 1; 0: it is not there
	recent     bool            // there were records since shard.cooled
	closed     bool            // an alert was sent
	unfinished unfinished
}

// Begin implements mode. The handshake is over.
func (k *compact) Begin(b []byte) (used int) { return 0 }

// Decode implements mode. A record for which there is no room is decrypted to a buffer of its own.
func (k *compact) Decode(src, dst []byte) (used, filled int, more bool, err error) {
	filled = k.takeRemaining(dst)
	for k.remaining == nil {
		record, n := k.early.next(src[used:])
		if used += n; record == nil {
			rest := src[used:]
			if len(rest) > 0 {
				k.conn.Raw().Expect(recordLength(rest))
			}
			k.layer.await(k.conn, &k.unfinished, rest, used > 0)
			return used, filled, false, nil
		}
		k.touch()
		if room := dst[filled:]; len(room) >= len(record) {
			data, err := k.tls.Open(room, record)
			if err != nil {
				return used, filled, false, k.refuse(err)
			}
			filled += len(data)
			continue
		}
		k.remaining = k.layer.buffers.Get(tlsrecord.MaxRecord)
		data, err := k.tls.Open(k.remaining.Bytes(), record)
		k.from, k.to = 0, uint16(len(data))
		filled += k.takeRemaining(dst[filled:])
		if err != nil {
			return used, filled, false, k.refuse(err)
		}
	}
	return used, filled, true, nil
}

// takeRemaining copies what is in remaining.
func (k *compact) takeRemaining(dst []byte) int {
	if k.remaining == nil {
		return 0
	}
	n := copy(dst, k.remaining.Bytes()[k.from:k.to])
	if k.from += uint16(n); k.from == k.to {
		k.dropRemaining()
	}
	return n
}

func (k *compact) dropRemaining() {
	if k.remaining != nil {
		k.remaining.Release()
		k.remaining = nil
	}
}

// refuse tells the peer of err, if it is a violation.
func (k *compact) refuse(err error) error {
	if v, ok := errors.AsType[*tlsrecord.Violation](err); ok {
		k.sendAlert(v.Alert)
	}
	return err
}

// sendAlert sends an alert, which is the last record.
func (k *compact) sendAlert(a tlsrecord.Alert) {
	if !k.closed {
		k.closed = true
		k.touch()
		k.conn.Raw().Send(k.tls.AppendAlert(nil, a), nil)
	}
}

// Encode implements mode. Records are full where there is enough to fill them.
func (k *compact) Encode(out, body []byte, _ *bufpool.Buffer) {
	if k.closed {
		return
	}
	k.touch()
	out, body = fill(out, body)
	k.seal(out)
	k.seal(body)
}

func (k *compact) seal(b []byte) {
	s := k.shard()
	for len(b) > 0 {
		if s.sealed == nil {
			s.sealed = k.layer.buffers.Get(tlsrecord.SealedBytes(sealBytes))
		}
		n := min(len(b), sealBytes)
		k.conn.Raw().Send(k.tls.Seal(s.sealed.Bytes()[:0], b[:n]), nil)
		b = b[n:]
	}
}

// Goodbye implements mode.
func (k *compact) Goodbye() { k.sendAlert(tlsrecord.CloseNotify) }

// Leave implements mode.
func (k *compact) Leave() {
	k.shard().cool(k)
	k.layer.forget(k.conn, &k.unfinished)
}

// Moved implements mode.
func (k *compact) Moved() {}

// End implements mode.
func (k *compact) End(error) {
	k.early = nil
	k.dropRemaining()
	k.Leave()
}

// Peer implements mode.
func (k *compact) Peer() engine.Peer {
	p := k.conn.Raw().Peer()
	p.TLS = k.state
	return p
}

func (k *compact) shard() *shard { return &k.layer.shards[k.conn.Shard()] }

// touch notes that there is a record, for which k needs ciphers.
func (k *compact) touch() {
	if k.recent {
		return
	}
	k.recent = true
	if k.warm == 0 {
		s := k.shard()
		s.warm = append(s.warm, k)
		k.warm = int32(len(s.warm))
	}
}

// cool drops the ciphers of k.
func (s *shard) cool(k *compact) {
	k.recent = false
	if k.warm == 0 {
		return
	}
	last := len(s.warm) - 1
	s.warm[k.warm-1] = s.warm[last]
	s.warm[k.warm-1].warm = k.warm
	s.warm[last] = nil
	s.warm, k.warm = s.warm[:last], 0
	k.tls.Forget()
}

// turn is the end of a turn.
func (s *shard) turn(now time.Duration) (next time.Duration) {
	if s.sealed != nil {
		s.sealed.Release()
		s.sealed = nil
	}
	if len(s.warm) == 0 {
		s.cooled = now
		return engine.Never
	}
	if now-s.cooled >= coolAfter {
		s.cooled = now
		for i := len(s.warm) - 1; i >= 0; i-- {
			if k := s.warm[i]; !k.recent {
				s.cool(k)
			} else {
				k.recent = false
			}
		}
		if len(s.warm) == 0 {
			s.warm = nil
			return engine.Never
		}
	}
	return s.cooled + coolAfter
}
