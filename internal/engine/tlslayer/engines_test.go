package tlslayer_test

import (
	"crypto/tls"
	"log/slog"
	"net"
	"testing"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/enginetest"
	"midge/internal/engine/tlslayer"
	"midge/test/certificate"
	"midge/test/engines"
)

// client is the client's end of TLS.
type client struct{ *tls.Conn }

func (c client) tcp() *net.TCPConn             { return c.NetConn().(*net.TCPConn) }
func (c client) SetLinger(seconds int) error   { return c.tcp().SetLinger(seconds) }
func (c client) SetReadBuffer(bytes int) error { return c.tcp().SetReadBuffer(bytes) }

// newEngine is an engine with TLS on its listener.
func newEngine(t *testing.T, kind string, shards []engine.Shard, cfg tlslayer.Config) enginetest.Engine {
	cfg.Log = slog.New(slog.DiscardHandler)
	l := tlslayer.New(shards, bufpool.New(bufpool.MaxIdle), cfg)
	e := engines.New(t, kind, engine.Listener{Number: 7, Name: "secure"}, l.Shards())
	l.Start(e.Runner)
	return e
}

// TestEngine runs the suite of engines over TLS.
func TestEngine(t *testing.T) {
	pair := certificate.New(t, "broker.test")
	for _, kind := range engines.Kinds {
		for _, w := range ways {
			if kind == "goroutine" && w.version == tls.VersionTLS12 {
				continue // the version is crypto/tls's affair
			}
			if testing.Short() && w.version == tls.VersionTLS12 {
				continue // the race detector finds nothing in it that 1.3 doesn't have
			}
			t.Run(kind+"/"+w.name, func(t *testing.T) {
				cfg := w.config(&tls.Config{Certificates: []tls.Certificate{pair.TLS}})
				server := cfg.TLS(7)
				cfg.TLS = func(listener int) *tls.Config {
					if listener != 7 {
						return nil
					}
					return server
				}
				ours := &tls.Config{RootCAs: pair.Pool(), ServerName: "broker.test", MaxVersion: w.version}
				enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
					e := newEngine(t, kind, shards, cfg)
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
	if testing.Short() {
		t.Skip("with the race detector package epoll runs the same")
	}
	enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
		e := newEngine(t, "epoll", shards, tlslayer.Config{TLS: func(int) *tls.Config { return nil }})
		return e
	})
}
