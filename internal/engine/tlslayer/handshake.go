package tlslayer

import (
	"crypto/tls"
	"net"
	"sync"

	"midge/internal/tlsrecord"
)

// handshake is a connection that shakes hands: what its goroutine and the shard
// tell each other. It is a member of the pool.
type handshake struct {
	tls     *tls.Conn
	secrets *tlsrecord.Secrets // the goroutine's; may be nil
	post    func()             // has the shard look at what is to be done; called with the lock
	limit   limit              // the goroutine's
	place   *place             // the goroutine's

	mu      sync.Mutex
	arrived sync.Cond
	in      []byte // what has arrived and was not read
	held    bool   // the shard reads nothing until the goroutine waits for more
	waits   bool   // the goroutine waits for more
	stopped error  // why it must end
	posted  bool   // the shard will call take
	done    progress
}

// progress is what the shard is to carry out.
type progress struct {
	out    []byte // to send
	resume bool   // to read on
	ended  bool   // the goroutine has ended
	err    error
	rest   []byte // what had arrived and was not for the handshake
}

// newHandshake returns a handshake that begins with b.
func newHandshake(b []byte) *handshake {
	h := &handshake{in: append([]byte(nil), b...)}
	h.arrived.L = &h.mu
	return h
}

// run implements member.
func (h *handshake) run(p *place) {
	h.place = p
	err := h.tls.Handshake()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done.ended, h.done.err = true, err
	h.notify()
}

// displace implements member.
func (h *handshake) displace() { h.stop(errDisplaced) }

// put takes input for the goroutine, or returns false while it has some. The shard reads
// nothing more until the goroutine asks for it: the peer may have sent its last packet
// behind the handshake and ended its output, and that end must not come before the packet.
func (h *handshake) put(b []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = true
	if len(h.in) > 0 || h.done.ended {
		return false
	}
	h.in = append(h.in[:0], b...)
	h.waits = false
	h.arrived.Signal()
	return true
}

// stop makes the goroutine end.
func (h *handshake) stop(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped == nil {
		h.stopped = err
	}
	h.arrived.Signal()
}

// notify has the shard call take. The caller holds the lock.
func (h *handshake) notify() {
	if !h.posted {
		h.posted = true
		h.post()
	}
}

// notifyAgain has another shard call take: the first one may not have done it.
func (h *handshake) notifyAgain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.posted = true
	h.post()
}

// take returns what the shard is to carry out.
func (h *handshake) take() progress {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.posted = false
	p := h.done
	h.done.out = nil
	if p.resume = h.held && h.waits; p.resume {
		h.held = false
	}
	if p.ended {
		if len(h.in) > 0 { // else it would hold the memory of the first flight
			p.rest = h.in
		}
		h.in = nil
	}
	return p
}

// read gives the goroutine the rest of a record at most: what comes after the
// handshake is not for it.
func (h *handshake) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.in) == 0 && h.stopped == nil {
		if h.waits = true; h.held {
			h.notify()
		}
		h.mu.Unlock()
		h.place.wait(h.await)
		h.mu.Lock()
	}
	if h.stopped != nil {
		return 0, h.stopped
	}
	n := h.limit.take(b, h.in)
	h.in = h.in[n:]
	return n, nil
}

// await waits for input, or for the end.
func (h *handshake) await() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.in) == 0 && h.stopped == nil {
		h.arrived.Wait()
	}
}

// write has the shard send b.
func (h *handshake) write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped != nil {
		return 0, net.ErrClosed
	}
	if h.secrets != nil {
		h.secrets.Sent(b)
	}
	h.done.out = append(h.done.out, b...)
	h.notify()
	return len(b), nil
}
