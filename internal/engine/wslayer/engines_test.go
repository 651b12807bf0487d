package wslayer_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/enginetest"
	"midge/internal/engine/tlslayer"
	"midge/internal/engine/wslayer"
	ours "midge/internal/websocket"
	"midge/test/certificate"
	"midge/test/engines"
)

// client is the client's end of a WebSocket.
type client struct {
	*ours.Conn
	tcp *net.TCPConn
}

func (c client) CloseWrite() error {
	last := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	return c.WriteControl(websocket.CloseMessage, last, time.Now().Add(time.Minute))
}
func (c client) SetLinger(seconds int) error   { return c.tcp.SetLinger(seconds) }
func (c client) SetReadBuffer(bytes int) error { return c.tcp.SetReadBuffer(bytes) }

// TestEngine runs the suite of engines over WebSocket, and over WebSocket over TLS.
func TestEngine(t *testing.T) {
	pair := certificate.New(t, "broker.test")
	for _, tt := range []struct {
		kind   string
		secure bool
	}{{"epoll", false}, {"goroutine", false}, {"epoll", true}} {
		name := tt.kind
		if tt.secure {
			name += " over TLS"
		}
		t.Run(name, func(t *testing.T) {
			enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
				log := slog.New(slog.DiscardHandler)
				var server *tls.Config
				if tt.secure {
					server = &tls.Config{Certificates: []tls.Certificate{pair.TLS}, DynamicRecordSizingDisabled: true}
				}
				buffers := bufpool.New(bufpool.MaxIdle)
				web := wslayer.New(shards, buffers, wslayer.Config{Log: log, Listener: func(int) *wslayer.Listener { return &wslayer.Listener{Path: "/mqtt"} }})
				secure := tlslayer.New(web.Shards(), buffers, tlslayer.Config{Log: log, TLS: func(int) *tls.Config { return server }})
				e := engines.New(t, tt.kind, engine.Listener{Number: 7, Name: "web"}, secure.Shards())
				web.Start(e.Runner)
				secure.Start(e.Runner)
				if e.TLS = tt.secure; tt.secure {
					e.Least = 16 << 10
				}
				e.Dial = func(addr string) (enginetest.Client, error) {
					tcp, err := net.Dial("tcp", addr)
					if err != nil {
						return nil, err
					}
					nc := tcp
					if tt.secure {
						nc = tls.Client(tcp, &tls.Config{RootCAs: pair.Pool(), ServerName: "broker.test"})
					}
					c, err := ours.Client(context.Background(), nc, "ws://"+addr+"/mqtt", "mqtt")
					if err != nil {
						return nil, err
					}
					return client{c, tcp.(*net.TCPConn)}, nil
				}
				return e
			})
		})
	}
}
