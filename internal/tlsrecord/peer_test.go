package tlsrecord

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// peer is the client's end of a connection, which sends whatever it likes.
type peer struct {
	in, out protection
	asked   bool // a KeyUpdate of the server's has asked for one
	updates int  // KeyUpdates that the server has sent
}

func newPeer(tb testing.TB, id uint16, s *Secrets) *peer {
	tb.Helper()
	suite, err := suiteOf(id)
	if err != nil {
		tb.Fatal(err)
	}
	p := &peer{in: protection{suite: suite}, out: protection{suite: suite}}
	p.in.begin(s.server)
	p.out.begin(s.client)
	return p
}

// record makes a record with padding. It changes keys after a KeyUpdate.
func (p *peer) record(typ contentType, content []byte, padding int) []byte {
	inner := append(bytes.Clone(content), byte(typ))
	return p.protect(append(inner, make([]byte, padding)...))
}

// protect makes a record of which even the type may be missing.
func (p *peer) protect(inner []byte) []byte {
	n := len(inner) + tagBytes
	header := []byte{byte(applicationData), 3, 3, byte(n >> 8), byte(n)}
	p.out.mask()
	b := p.out.cipher().Seal(bytes.Clone(header), p.out.iv[:], inner, header)
	p.out.mask()
	p.out.sequence++
	return b
}

func (p *peer) keyUpdate(request byte) []byte {
	b := p.record(handshake, []byte{keyUpdate, 0, 0, 1, request}, 0)
	p.out.update()
	return b
}

// take reads what the server has sent: data, and the alert at its end, -1 for none.
func (p *peer) take(b []byte) (data []byte, last int, err error) {
	last = -1
	for len(b) > 0 {
		if len(b) < headerBytes || len(b) < headerBytes+length(b) {
			return data, last, fmt.Errorf("the server has sent a part of a record: %x", b)
		}
		record := b[:headerBytes+length(b)]
		b = b[len(record):]
		typ, content, err := p.in.open(nil, record)
		if err != nil {
			return data, last, err
		}
		switch typ {
		case applicationData:
			data = append(data, content...)
		case alert:
			last = int(content[1])
		case handshake:
			if content[0] == 4 { // NewSessionTicket
				continue
			}
			if !bytes.Equal(content[:4], []byte{keyUpdate, 0, 0, 1}) {
				return data, last, fmt.Errorf("the server has sent %x", content)
			}
			p.updates++
			p.asked = p.asked || content[4] == 1
			p.in.update()
		}
	}
	return data, last, nil
}

// errNothing is the error of a read for which there is nothing; crypto/tls goes on after it.
type errNothing struct{}

func (errNothing) Error() string   { return "nothing to read" }
func (errNothing) Timeout() bool   { return true }
func (errNothing) Temporary() bool { return true }

// stream is one direction of a connection in memory. What is written waits without a bound.
type stream struct {
	mu      sync.Mutex
	arrived sync.Cond
	b       []byte
}

func (s *stream) write(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = append(s.b, b...)
	s.arrived.Signal()
}

func (s *stream) read(b []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.b) == 0 {
		s.arrived.Wait()
	}
	n := copy(b, s.b)
	s.b = s.b[n:]
	return n
}

// end is one end of a connection in memory.
type end struct {
	net.Conn // nil: the rest is not called
	in, out  *stream
}

func (e *end) Read(b []byte) (int, error)  { return e.in.read(b), nil }
func (e *end) Write(b []byte) (int, error) { e.out.write(b); return len(b), nil }

// ours is the server's end: two streams until the handshake is over, then memory of its own.
type ours struct {
	end
	secrets  *Secrets
	done     bool
	got, out []byte
}

func (o *ours) Secrets() *Secrets { return o.secrets }

func (o *ours) Read(b []byte) (int, error) {
	if !o.done {
		return o.end.Read(b)
	}
	if len(o.got) == 0 {
		return 0, errNothing{}
	}
	n := copy(b, o.got)
	o.got = o.got[n:]
	return n, nil
}

func (o *ours) Write(b []byte) (int, error) {
	if !o.done {
		o.secrets.Sent(b)
		return o.end.Write(b)
	}
	o.out = append(o.out, b...)
	return len(b), nil
}

// connected is a connection whose handshake is over, as crypto/tls has it.
type connected struct {
	*ours
	tls    *tls.Conn
	client *tls.Conn
	suite  uint16
}

// connect shakes hands.
func connect(tb testing.TB, server, client *tls.Config) *connected {
	tb.Helper()
	up, down := &stream{}, &stream{}
	up.arrived.L, down.arrived.L = &up.mu, &down.mu
	c := &connected{ours: &ours{end: end{in: up, out: down}, secrets: &Secrets{}}, client: tls.Client(&end{in: down, out: up}, client)}
	outer := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return Config(hello.Conn, server), nil
	}}
	c.tls = tls.Server(c.ours, outer)
	ended := make(chan error, 1)
	go func() { ended <- c.client.Handshake() }()
	if err := errors.Join(c.tls.Handshake(), <-ended); err != nil {
		tb.Fatal(err)
	}
	c.done = true
	c.suite = c.tls.ConnectionState().CipherSuite
	return c
}

// readAll reads what crypto/tls has decrypted.
func (c *connected) readAll() (data []byte, err error) {
	b := make([]byte, 1<<15)
	for {
		n, err := c.tls.Read(b)
		data = append(data, b[:n]...)
		if err == (errNothing{}) {
			return data, nil
		}
		if err != nil {
			return data, err
		}
	}
}

// reads is what a client of crypto/tls reads of b.
func (c *connected) reads(tb testing.TB, b []byte, n int) []byte {
	tb.Helper()
	c.end.Write(b)
	data := make([]byte, n)
	if _, err := io.ReadFull(c.client, data); err != nil {
		tb.Fatal(err)
	}
	return data
}
