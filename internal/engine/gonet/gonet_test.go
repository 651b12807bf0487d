package gonet_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"midge/internal/engine"
	"midge/internal/engine/enginetest"
	"midge/internal/engine/epoll"
	"midge/internal/engine/gonet"
	"midge/test/certificate"
)

func TestThreads(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
		return serve(t, gonet.New(shards, gonet.Config{}), shards)
	})
}

func TestEngine(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
		e := gonet.NewEngine(shards, gonet.Config{ReadBuffer: 2 << 10})
		at := engine.Listener{Number: engine.MaxListeners - 1, Name: "last", Network: "tcp", Address: "127.0.0.1:0"}
		addr, err := e.Listen(at)
		if err != nil {
			t.Fatal(err)
		}
		return enginetest.Engine{Runner: e, At: at, Addr: addr.String(), Run: e.Run, Listens: true}
	})
}

func TestServeOnEpoll(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
		e, err := epoll.New(shards, epoll.Config{})
		if errors.Is(err, engine.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return serve(t, e, shards)
	})
}

// serve makes an engine of a runner and a listener that Serve carries.
func serve(t *testing.T, r engine.Runner, shards []engine.Shard) enginetest.Engine {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := engine.Listener{Number: engine.MaxListeners - 1, Name: "last"}
	run := func(ctx context.Context) error {
		running, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(running) }()
		err := gonet.Serve(ctx, r, shards, ln, gonet.Config{ReadBuffer: 2 << 10, Listener: at.Number, Name: at.Name})
		stop()
		return errors.Join(err, <-ended)
	}
	return enginetest.Engine{Runner: r, At: at, Addr: ln.Addr().String(), Run: run}
}

// curious is an engine.Shard that wants to know who its peers are.
type curious struct{ peers chan engine.Peer }

func (curious) Open(engine.Conn) {}
func (s curious) Data(c engine.Conn, b []byte) int {
	s.peers <- c.Peer()
	return len(b)
}
func (curious) Drained(engine.Conn)              {}
func (curious) Closed(engine.Conn, error)        {}
func (curious) Turn(time.Duration) time.Duration { return engine.Never }

// TestPeerOverTLS asks who is at the other end of a connection with TLS.
func TestPeerOverTLS(t *testing.T) {
	pair := certificate.New(t, "broker.test")
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair.TLS}})
	if err != nil {
		t.Fatal(err)
	}
	shard := curious{make(chan engine.Peer, 1)}
	runner := gonet.New([]engine.Shard{shard}, gonet.Config{})
	running, stop := context.WithCancel(t.Context())
	serving, end := context.WithCancel(running)
	ended := make(chan error, 2)
	go func() { ended <- runner.Run(running) }()
	served := make(chan struct{})
	go func() {
		defer close(served)
		ended <- gonet.Serve(serving, runner, []engine.Shard{shard}, ln, gonet.Config{})
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: pair.Pool(), ServerName: "broker.test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	p := <-shard.peers
	if p.Listener != ln.Addr().String() || p.Remote.String() != c.LocalAddr().String() || p.Local != netip.MustParseAddrPort(p.Listener) {
		t.Errorf("the peer is %+v", p)
	}
	if p.TLS == nil || !p.TLS.HandshakeComplete || p.TLS.ServerName != "broker.test" {
		t.Errorf("of TLS the peer says %+v", p.TLS)
	}
	c.Close()
	end()
	<-served
	stop()
	if err := errors.Join(<-ended, <-ended); err != nil {
		t.Error(err)
	}
}
