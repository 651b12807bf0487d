package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"midge/internal/devcert"
)

// TestAuthorityIsNoClient proves that who is answered as an authority, without a certificate
// where clients need one, is connected to nothing: the handshake is all there is. The authority that the
// broker asks can't be reached, and nobody notices.
func TestAuthorityIsNoClient(t *testing.T) {
	dir := t.TempDir()
	if _, err := devcert.Make(dir, []string{"broker.test"}, "somebody", time.Now()); err != nil {
		t.Fatal(err)
	}
	var pair []byte
	for _, part := range []string{"server-key.pem", "server.pem"} {
		text, err := os.ReadFile(filepath.Join(dir, part))
		if err != nil {
			t.Fatal(err)
		}
		pair = append(pair, text...)
	}
	for _, name := range []string{"broker.test", "broker.test+token"} {
		if err := os.WriteFile(filepath.Join(dir, name), pair, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range []string{"auto", "goroutine"} {
		for _, records := range []string{"standard", "compact"} {
			t.Run(engine+"/"+records, func(t *testing.T) {
				cfg := loadedWith(t, "tls://127.0.0.1:0", "durability", "none", "engine", engine, "tls.record_layer", records,
					"tls.ca", filepath.Join(dir, "ca.pem"), "tls.client_certificates", "require", "limits.connect_timeout", "1m",
					"tls.acme.domains", "broker.test,later.test", "tls.acme.cache", dir, "tls.acme.directory", "https://127.0.0.1:1/dir")
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
				connect := func(version uint16, protocol string) (int, error) {
					raw, err := net.Dial("tcp", b.listening[0].addr.String())
					if err != nil {
						t.Fatal(err)
					}
					defer raw.Close()
					raw.SetDeadline(time.Now().Add(5 * time.Minute))
					c := tls.Client(raw, &tls.Config{
						ServerName: "broker.test", InsecureSkipVerify: true, NextProtos: []string{protocol}, MaxVersion: version,
						GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &client, nil },
					})
					if err := c.Handshake(); err != nil || c.ConnectionState().NegotiatedProtocol != protocol {
						return 0, fmt.Errorf("handshake: %w", err)
					}
					c.Write([]byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"))
					n, _ := io.ReadFull(c, make([]byte, 4))
					return n, nil
				}
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					if n, err := connect(version, "mqtt"); n != 4 || err != nil {
						t.Errorf("a client gets %d bytes, %v", n, err)
					}
					if n, err := connect(version, "acme-tls/1"); n != 0 || err != nil {
						t.Errorf("an authority gets %d bytes, %v", n, err)
					}
				}
			})
		}
	}
}
