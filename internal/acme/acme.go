// Package acme gets certificates from an authority by ACME (RFC 8555), and renews them, with
// golang.org/x/crypto/acme/autocert. They are files in a directory, which package tlsconfig reads
// as it does others; so no handshake waits for an authority.
//
// Files, from the bottom up: http.go, acme.go.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"midge/internal/settings"
)

const (
	// requestWithin is how long the authority may take for one of the dozen requests that a
	// certificate takes.
	requestWithin = 30 * time.Second

	// What failed is tried again after this long, then after twice as long, up to the most.
	// Let's Encrypt allows five failures of a name an hour.
	firstPause = time.Minute
	maxPause   = time.Hour

	// lookEvery is how often it is looked whether certificates were renewed in time.
	lookEvery = time.Hour
)

// Getter gets the certificates of some names.
type Getter struct {
	cfg     settings.ACME
	manager *autocert.Manager
	http    *challengeServer // nil: the authority asks by TLS only
	log     *slog.Logger
	changed func() // called when a certificate was got
}

// New makes the directory, and opens the address for the authority's requests by HTTP if there
// is to be one. version is told to the authority.
func New(cfg *settings.ACME, version string, log *slog.Logger, changed func()) (*Getter, error) {
	if err := os.MkdirAll(cfg.Cache, 0o700); err != nil {
		return nil, fmt.Errorf("tls.acme.cache: %w", err)
	}
	roots, err := roots(cfg.CA)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	g := &Getter{cfg: *cfg, log: log, changed: changed, manager: &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(cfg.Cache),
		HostPolicy: autocert.HostWhitelist(cfg.Domains...),
		Email:      cfg.Email,
		Client: &acme.Client{
			DirectoryURL: cfg.Directory, UserAgent: version,
			HTTPClient: &http.Client{Transport: transport, Timeout: requestWithin},
		},
	}}
	if cfg.HTTP != "" {
		if g.http, err = listen(cfg.HTTP, g.manager); err != nil {
			return nil, fmt.Errorf("tls.acme.http: %w", err)
		}
	}
	return g, nil
}

func roots(name string) (*x509.CertPool, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("tls.acme.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("tls.acme.ca: %s has no certificate in PEM (-----BEGIN CERTIFICATE-----)", name)
	}
	return pool, nil
}

// Start has certificates got and renewed until ctx is cancelled. A request that is under way is
// not waited for then.
func (g *Getter) Start(ctx context.Context) {
	if g.http != nil {
		go g.http.serve(ctx)
	}
	for _, domain := range g.cfg.Domains {
		go g.keep(ctx, domain)
	}
}

// keep gets the certificate of a name, and looks whether it is renewed.
func (g *Getter) keep(ctx context.Context, domain string) {
	pause, warned, last := firstPause, "", ""
	if before := g.stored(domain); before != nil {
		last = before.SerialNumber.String()
	}
	for ctx.Err() == nil {
		// From the directory, if it is there. The manager renews it from then on.
		_, err := g.manager.GetCertificate(hello(domain))
		next := pause/2 + rand.N(pause)
		switch now := g.stored(domain); {
		case ctx.Err() != nil:
			return
		case err != nil:
			g.log.Error("no certificate was got", "domain", domain, "directory", g.cfg.Directory, "again_in", next.Round(time.Second), "error", err)
			pause = min(2*pause, maxPause)
		case now == nil:
			g.log.Error("a certificate was not stored", "domain", domain, "directory", g.cfg.Cache)
		default:
			pause, next = firstPause, lookEvery
			serial := now.SerialNumber.String()
			if serial != last {
				g.log.Info("a certificate was got", "domain", domain, "ends", now.NotAfter)
				last = serial
				g.changed()
			}
			left, all := time.Until(now.NotAfter), now.NotAfter.Sub(now.NotBefore)
			if left < all/4 && warned != serial {
				warned = serial
				g.log.Warn("a certificate was not renewed; the authority may be out of reach, or not reach this broker", "domain", domain, "ends", now.NotAfter)
			}
			next = min(next, max(left/8, time.Minute))
		}
		select {
		case <-ctx.Done():
		case <-time.After(next):
		}
	}
}

// hello is that of a client that takes an ECDSA certificate, which is the only kind that is got.
func hello(domain string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: domain, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
}

// stored is the certificate of a name that is in the directory, nil if there is none.
func (g *Getter) stored(domain string) *x509.Certificate {
	text, err := os.ReadFile(g.cfg.CertificateFile(domain))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			g.log.Error("a certificate was not read", "domain", domain, "error", err)
		}
		return nil
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if x, err := x509.ParseCertificate(block.Bytes); err == nil {
			return x
		}
	}
	return nil
}
