package loop

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// linkRead is how much a link reads at a time, in bytes.
	linkRead = 4 << 10
	// dialLimit bounds the handshakes of TCP, TLS and WebSocket.
	dialLimit = 20 * time.Second
	// closeLimit bounds the time that the last output of a link may take.
	closeLimit = time.Second
)

// goroutines is a loop in which each connection has a goroutine that reads
// and one that writes. They hand everything to the goroutine that calls Turn.
type goroutines struct {
	cfg     Config
	handler Handler
	events  chan event
	dirty   []*Conn
	dialed  int
	links   map[*Conn]*link
	timer   *time.Timer
	ctx     context.Context // ends dials
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// link is the network side of a connection.
type link struct {
	conn   net.Conn      // the loop may use it once up is true
	up     bool          // owned by the loop
	out    chan []byte   // to the writer; closed at the end
	spare  []byte        // the buffer that the writer gave back
	resume chan struct{} // tells the reader that its buffer is free
	done   chan struct{} // closed at the end
	rate   atomic.Int64  // bytes per second to read; 0: no limit
}

type eventKind uint8

const (
	opened eventKind = iota
	received
	written
	ended
)

type event struct {
	kind eventKind
	conn *Conn
	link *link
	b    []byte
	err  error
}

func newGoroutines(cfg Config, h Handler) *goroutines {
	l := &goroutines{cfg: cfg, handler: h, events: make(chan event, 256), links: map[*Conn]*link{}, timer: time.NewTimer(time.Hour)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

func (l *goroutines) Engine() string { return "goroutines" }

func (l *goroutines) Dial(c *Conn) {
	k := &link{out: make(chan []byte, 1), resume: make(chan struct{}, 1), done: make(chan struct{})}
	k.rate.Store(int64(c.ReadRate))
	c.link, c.in, c.blocked = k, c.in[:0], true
	l.links[c] = k
	n := l.dialed
	l.dialed++
	l.running.Go(func() { l.serve(c, k, n) })
}

// serve dials and then reads.
func (l *goroutines) serve(c *Conn, k *link, n int) {
	ctx, cancel := context.WithTimeout(l.ctx, dialLimit)
	conn, err := l.cfg.dial(ctx, n)
	cancel()
	if err != nil {
		l.post(event{kind: ended, conn: c, link: k, err: err})
		return
	}
	k.conn = conn
	l.running.Go(func() { l.write(c, k) })
	if !l.post(event{kind: opened, conn: c, link: k}) {
		return
	}
	buf := make([]byte, linkRead)
	for {
		b := buf
		if rate := k.rate.Load(); rate > 0 {
			b = buf[:min(len(buf), slowShare(int(rate)))]
			if !k.pause(slowEvery) {
				return
			}
		}
		n, err := conn.Read(b)
		if n > 0 {
			if !l.post(event{kind: received, conn: c, link: k, b: b[:n]}) || !k.wait() {
				return
			}
		}
		if err != nil {
			l.post(event{kind: ended, conn: c, link: k, err: err})
			return
		}
	}
}

// wait waits until the reader's buffer is free; false at the end.
func (k *link) wait() bool {
	select {
	case <-k.resume:
		return true
	case <-k.done:
		return false
	}
}

// pause waits for d; false at the end.
func (k *link) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-k.done:
		return false
	}
}

// post hands an event to the loop; false if the link has ended.
func (l *goroutines) post(e event) bool {
	select {
	case l.events <- e:
		return true
	case <-e.link.done:
		return false
	}
}

// write writes until the end, and closes.
func (l *goroutines) write(c *Conn, k *link) {
	defer func() { _ = k.conn.Close() }() // after the last byte there is nothing to do about an error
	for b := range k.out {
		if _, err := k.conn.Write(b); err != nil {
			l.post(event{kind: ended, conn: c, link: k, err: err})
			return
		}
		l.post(event{kind: written, conn: c, link: k, b: b})
	}
}

func (l *goroutines) Touch(c *Conn) {
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}

func (l *goroutines) Close(c *Conn) {
	k := c.link
	if k == nil {
		return
	}
	if !c.blocked && len(c.Out) > 0 {
		k.out <- c.Out
		c.Out = nil
	}
	l.drop(c)
}

func (l *goroutines) drop(c *Conn) {
	k := c.link
	close(k.done)
	close(k.out)
	if k.up {
		_ = k.conn.SetDeadline(time.Now().Add(closeLimit))
	}
	delete(l.links, c)
	c.link, c.Out, c.blocked = nil, c.Out[:0], false
}

func (l *goroutines) Throttle(c *Conn, bytesPerSecond int) {
	c.ReadRate = bytesPerSecond
	if c.link != nil {
		c.link.rate.Store(int64(bytesPerSecond))
	}
}

func (l *goroutines) Turn(wait time.Duration) error {
	l.flush()
	l.timer.Reset(wait)
	select {
	case e := <-l.events:
		l.handle(e)
	case <-l.timer.C:
	}
	for range cap(l.events) {
		select {
		case e := <-l.events:
			l.handle(e)
			continue
		default:
		}
		break
	}
	l.flush()
	return nil
}

func (l *goroutines) handle(e event) {
	c := e.conn
	if c.link != e.link {
		return // closed meanwhile
	}
	switch e.kind {
	case opened:
		c.blocked, e.link.up = false, true
		l.handler.Opened(c)
	case received:
		l.receive(c, e.b)
		if c.link == e.link {
			e.link.resume <- struct{}{}
		}
	case written:
		c.blocked, e.link.spare = false, e.b[:0]
		if len(c.Out) > 0 {
			l.Touch(c)
		}
	case ended:
		l.drop(c)
		l.handler.Closed(c, e.err)
	}
}

func (l *goroutines) receive(c *Conn, b []byte) {
	k := c.link
	if len(c.in) == 0 {
		rest := b[l.handler.Data(c, b):]
		if c.link == k {
			c.in = append(c.in[:0], rest...)
		}
		return
	}
	c.in = append(c.in, b...)
	if used := l.handler.Data(c, c.in); c.link == k && used > 0 {
		c.in = c.in[:copy(c.in, c.in[used:])]
	}
}

// flush gives the output of every touched connection to its writer, if that
// has nothing to do.
func (l *goroutines) flush() {
	for _, c := range l.dirty {
		c.dirty = false
		if c.link != nil && !c.blocked && len(c.Out) > 0 {
			c.blocked = true
			c.link.out <- c.Out
			c.Out = c.link.spare
			c.link.spare = nil
		}
	}
	l.dirty = l.dirty[:0]
}

func (l *goroutines) Shut() error {
	l.cancel()
	for c := range l.links {
		l.drop(c)
	}
	l.running.Wait()
	l.timer.Stop()
	return nil
}

// dial makes the nth connection.
func (c *Config) dial(ctx context.Context, n int) (net.Conn, error) {
	if c.Dial != nil {
		return c.Dial(ctx)
	}
	d := &net.Dialer{}
	if source := c.source(n); source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	conn, err := c.handshake(ctx, d)
	if err != nil {
		return nil, describe(c.Address, err)
	}
	return conn, nil
}
