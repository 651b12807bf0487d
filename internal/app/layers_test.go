package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/devcert"
	"midge/internal/websocket"
)

// TestLayers connects to a broker over all schemes, on both engines, and a client that does
// not finish its handshake is gone in time.
func TestLayers(t *testing.T) {
	dir := t.TempDir()
	if _, err := devcert.Make(dir, []string{"broker.test"}, "somebody", time.Now()); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, engine := range []string{"auto", "goroutine"} {
		t.Run(engine, func(t *testing.T) {
			cfg := loadedWith(t, "tcp://127.0.0.1:0 tls://127.0.0.1:0 ws://127.0.0.1:0/mqtt wss://127.0.0.1:0", "durability", "none", "engine", engine,
				"tls.certificate", filepath.Join(dir, "server.pem"), "tls.key", filepath.Join(dir, "server-key.pem"), "limits.connect_timeout", "1s")
			ctx, stop := context.WithCancel(t.Context())
			b, err := New(ctx, cfg, "midge test", slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- b.Run(ctx) }()
			defer func() {
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}()
			for _, l := range b.listening {
				c, err := net.Dial("tcp", l.addr.String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				if l.asked.Scheme == "tls" || l.asked.Scheme == "wss" {
					c = tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "broker.test"})
				}
				if l.asked.Scheme == "ws" || l.asked.Scheme == "wss" {
					if c, err = upgraded(t, c); err != nil {
						t.Fatal(err)
					}
				}
				c.Write([]byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01" + l.asked.Scheme[:1]))
				answer := make([]byte, 4)
				if _, err := io.ReadFull(c, answer); err != nil || !bytes.Equal(answer, []byte{0x20, 2, 0, 0}) {
					t.Errorf("%s: the answer to CONNECT is % x, %v", l.asked.Scheme, answer, err)
				}
			}
			slow, err := net.Dial("tcp", b.listening[1].addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer slow.Close()
			slow.Write([]byte{0x16, 3, 1})
			if _, err := io.Copy(io.Discard, slow); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Error(err)
			}
			counted := b.core.Counters()
			if counted.TLSHandshakes != 2 || counted.WebSockets != 2 || counted.TLSLate != 1 || counted.TLSWaiting != 0 {
				t.Errorf("counted %d handshakes, %d WebSockets, %d late ones, and %d under way", counted.TLSHandshakes, counted.WebSockets, counted.TLSLate, counted.TLSWaiting)
			}
		})
	}
}

func upgraded(t *testing.T, c net.Conn) (net.Conn, error) {
	return websocket.Client(t.Context(), c, "ws://broker.test/mqtt", "mqtt")
}
