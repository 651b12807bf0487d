package app

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"midge/internal/packet"
)

// revoke writes a list with the client's certificate in a directory of devcert, or with none.
func revoke(t *testing.T, dir string, entries ...x509.RevocationListEntry) {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(int64(len(entries) + 1)), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour), RevokedCertificateEntries: entries,
	}, ca.Leaf, ca.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(dir, "crl.next")
	if err := os.WriteFile(next, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(dir, "crl.pem")); err != nil {
		t.Fatal(err)
	}
}

// TestRevokedLater ends clients whose certificate is revoked while they are connected, resumed
// ones, too, and those over WebSocket; others stay. A list that is broken changes nothing.
func TestRevokedLater(t *testing.T) {
	for _, engine := range []string{"epoll", "goroutine"} {
		for _, scheme := range []string{"tls", "wss"} {
			for _, records := range []string{"standard", "compact"} {
				for _, by := range []string{"a list that changes", "a list that is new"} {
					t.Run(fmt.Sprintf("%s/%s/%s/%s", engine, scheme, records, by), func(t *testing.T) {
						dir, secure := certificates(t)
						pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem"))
						if err != nil {
							t.Fatal(err)
						}
						revoke(t, dir)
						list := []string{"tls.crl", filepath.Join(dir, "crl.pem")}
						settings := append([]string{
							"engine", engine, "listener.plain.address", "127.0.0.1:0", "listener.a.address", scheme + "://127.0.0.1:0", "tls.record_layer", records,
							"tls.client_certificates", "optional", "tls.ca", filepath.Join(dir, "ca.pem"),
						}, secure...)
						if by == "a list that changes" {
							settings = append(settings, list...)
						}
						r := newReloading(t, settings...)
						ours := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
						r.tls = ours
						revoked := []*session{r.in(1, "a"), r.in(1, "resumed")}
						if n := r.b.core.Counters(); n.TLSResumed != 1 {
							t.Fatalf("%d resumed", n.TLSResumed)
						}
						r.tls = nil
						stay := []*session{r.in(0, "plain"), r.in(1, "without")}
						if by == "a list that changes" {
							if err := os.WriteFile(filepath.Join(dir, "crl.pem"), []byte("half of a fi"), 0o644); err != nil {
								t.Fatal(err)
							}
							if err := r.b.ReloadCertificates(); err == nil {
								t.Error("a broken list is no fault")
							}
							if n := r.b.core.Counters(); n.BrokenFiles != 1 {
								t.Errorf("counted %d", n.BrokenFiles)
							}
							for _, c := range revoked {
								c.lives()
							}
						}
						revoke(t, dir, x509.RevocationListEntry{SerialNumber: pair.Leaf.SerialNumber, RevocationTime: time.Now()})
						if by == "a list that changes" {
							if err := r.b.ReloadCertificates(); err != nil {
								t.Fatal(err)
							}
						} else {
							r.must(list...)
						}
						for _, c := range revoked {
							first, body, err := readPacket(c)
							if err != nil || first != 0xE0 || packet.ReasonCode(body[0]) != packet.NotAuthorized {
								t.Errorf("got %#x % x, %v; want DISCONNECT", first, body, err)
							}
						}
						for _, c := range stay {
							c.lives()
						}
						for i := range r.b.core.Shards() { // a turn counts at its end
							ended := make(chan bool)
							r.b.network.Post(i, func() { close(ended) })
							<-ended
						}
						if n := r.b.core.Counters(); n.Revoked != 2 {
							t.Errorf("counted %d", n.Revoked)
						}
					})
				}
			}
		}
	}
}
