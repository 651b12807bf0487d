package tlslayer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"testing"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/enginetest"
	"midge/internal/engine/epoll"
	"midge/internal/engine/gonet"
	"midge/internal/engine/tlslayer"
	"midge/test/certificate"
)

// client is the client's end of TLS.
type client struct{ *tls.Conn }

func (c client) tcp() *net.TCPConn             { return c.NetConn().(*net.TCPConn) }
func (c client) SetLinger(seconds int) error   { return c.tcp().SetLinger(seconds) }
func (c client) SetReadBuffer(bytes int) error { return c.tcp().SetReadBuffer(bytes) }

// newEngine is "epoll" or "goroutine", with TLS on its listener.
func newEngine(t *testing.T, kind string, shards []engine.Shard, cfg tlslayer.Config) (enginetest.Engine, *tlslayer.Layer) {
	at := engine.Listener{Number: 7, Name: "secure", Network: "tcp", Address: "127.0.0.1:0"}
	cfg.Log = slog.New(slog.DiscardHandler)
	l := tlslayer.New(shards, bufpool.New(bufpool.MaxIdle), cfg)
	if kind == "goroutine" {
		r := gonet.New(l.Shards(), gonet.Config{})
		l.Start(r)
		ln, err := net.Listen(at.Network, at.Address)
		if err != nil {
			t.Fatal(err)
		}
		run := func(ctx context.Context) error {
			running, stop := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- r.Run(running) }()
			err := gonet.Serve(ctx, r, l.Shards(), ln, gonet.Config{Listener: at.Number, Name: at.Name})
			stop()
			return errors.Join(err, <-ended)
		}
		return enginetest.Engine{Runner: r, At: at, Addr: ln.Addr().String(), Run: run}, l
	}
	e, err := epoll.New(l.Shards(), epoll.Config{})
	if errors.Is(err, engine.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.Start(e)
	addr, err := e.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	return enginetest.Engine{Runner: e, At: at, Addr: addr.String(), Run: e.Run}, l
}

// TestEngine runs the suite of engines over TLS.
func TestEngine(t *testing.T) {
	pair := certificate.New(t, "broker.test")
	for _, kind := range kinds {
		for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
			if kind == "goroutine" && version == tls.VersionTLS12 {
				continue // the version is crypto/tls's affair
			}
			t.Run(kind+"/"+tls.VersionName(version), func(t *testing.T) {
				server := &tls.Config{Certificates: []tls.Certificate{pair.TLS}, DynamicRecordSizingDisabled: true}
				ours := &tls.Config{RootCAs: pair.Pool(), ServerName: "broker.test", MaxVersion: version}
				enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
					e, _ := newEngine(t, kind, shards, tlslayer.Config{TLS: func(listener int) *tls.Config {
						if listener != 7 {
							return nil
						}
						return server
					}})
					e.TLS, e.Least = true, 16<<10
					e.Dial = func(addr string) (enginetest.Client, error) {
						c, err := tls.Dial("tcp", addr, ours)
						if err != nil {
							return nil, err
						}
						return client{c}, nil
					}
					return e
				})
			})
		}
	}
}

// TestEngineWithoutTLS runs the suite on a listener without TLS: the shards see the
// engine's own connections.
func TestEngineWithoutTLS(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
		e, _ := newEngine(t, "epoll", shards, tlslayer.Config{TLS: func(int) *tls.Config { return nil }})
		return e
	})
}
