// Package tlsconfig makes the configuration of TLS of a listener from its settings, and
// keeps it in step with the files that they name.
//
// Files, from the bottom up: files.go, revoked.go, acme.go, build.go,
// tlsconfig.go.
package tlsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/settings"
	"midge/internal/tlsrecord"
)

// Config is the configuration of a listener. Safe from any goroutine.
type Config struct {
	name    string
	outer   *tls.Config
	current atomic.Pointer[built]

	mu     sync.Mutex // guards what Refresh goes by
	from   from
	seen   []stamp // of the files of current, or of those that were refused
	warned map[string]int
}

// from is what a configuration is made from.
type from struct {
	settings settings.TLS
	alpn     []string
}

// newFrom takes the protocols that the settings name, or those that the listener has
// without.
func newFrom(s *settings.TLS, alpn []string) from {
	if len(s.ALPN) > 0 {
		alpn = s.ALPN
	}
	return from{*s, alpn}
}

// New reads the files. alpn are the protocols where the settings name none. name is
// what the log calls the listener.
func New(name string, s *settings.TLS, alpn ...string) (*Config, error) {
	c := &Config{name: name, warned: map[string]int{}}
	n, err := c.Prepare(s, alpn...)
	if err != nil {
		return nil, err
	}
	c.Use(n)
	// Tickets belong to the outer configuration, so that sessions resume after files have
	// changed.
	c.outer = &tls.Config{DynamicRecordSizingDisabled: true, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		b := c.current.Load()
		if challenge := b.challenge(hello); challenge != nil {
			return challenge, nil
		}
		return tlsrecord.Config(hello.Conn, b.config), nil
	}}
	return c, nil
}

// Name is what the listener is called.
func (c *Config) Name() string { return c.name }

// TLS is what connections are made with.
func (c *Config) TLS() *tls.Config { return c.outer }

// Compact reports whether package tlsrecord is to go on after handshakes of TLS 1.3.
func (c *Config) Compact() bool { return c.current.Load().compact }

// Revokes reports whether there are lists of revoked certificates.
func (c *Config) Revokes() bool { return len(c.current.Load().revoked) > 0 }

// Revoked says which certificate of a connection has been revoked by now, nil if none has.
func (c *Config) Revoked(state *tls.ConnectionState) error {
	if state == nil {
		return nil
	}
	return c.current.Load().revoked.verify(*state)
}

// Next is what takes the place of what a Config has: see Prepare.
type Next struct {
	from  from
	seen  []stamp
	built *built
}

// Prepare reads the files of other settings, for Use to put in force. It returns nil if the
// settings are the same as before: then Refresh looks after the files.
func (c *Config) Prepare(s *settings.TLS, alpn ...string) (*Next, error) {
	n := &Next{from: newFrom(s, alpn)}
	c.mu.Lock()
	same := c.current.Load() != nil && reflect.DeepEqual(n.from, c.from)
	c.mu.Unlock()
	if same {
		return nil, nil
	}
	n.seen = stamps(n.from.files())
	var err error
	n.built, err = build(&n.from.settings, n.from.alpn)
	return n, err
}

// Use puts in force what Prepare has read. Connections stay as they are, new ones get what is
// new.
func (c *Config) Use(n *Next) {
	if n == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.from, c.seen = n.from, n.seen
	c.current.Store(n.built)
}

// files are the names of all files.
func (f *from) files() (names []string) {
	s := &f.settings
	for _, list := range [][]string{s.Certificate, s.Key, s.CA, s.CRL} {
		names = append(names, list...)
	}
	if s.OCSPStaple != "" {
		names = append(names, s.OCSPStaple)
	}
	if byACME(s) {
		for _, domain := range s.ACME.Domains {
			names = append(names, s.ACME.CertificateFile(domain))
		}
	}
	return names
}

// Refresh reads the files again if they have changed. Connections stay as they are, new ones
// get what is new. If that is broken, what was before stays in force, and the error
// is returned, once for each change.
func (c *Config) Refresh() (changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := stamps(c.from.files())
	if same(seen, c.seen) {
		return false, nil
	}
	c.seen = seen
	b, err := build(&c.from.settings, c.from.alpn)
	if err != nil {
		return false, fmt.Errorf("the certificates of the listener %s stay as they were: %w", c.name, err)
	}
	c.current.Store(b)
	return true, nil
}

// warnDays are how many days before its end a certificate is warned of.
var warnDays = []int{30, 7, 1}

// Warn logs which certificates end soon, and which lists are out of date: each once for each of warnDays.
func (c *Config) Warn(now time.Time, log *slog.Logger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.current.Load()
	for _, x := range b.certificates {
		if b.acme != nil {
			break // package acme warns of those that are not renewed
		}
		c.warn(now, log, "certificate", x.Subject.String(), x)
	}
	for _, l := range b.lists {
		key := "crl " + l.Issuer.String() + l.NextUpdate.String()
		if !l.NextUpdate.IsZero() && now.After(l.NextUpdate) && c.warned[key] == 0 {
			c.warned[key] = 1
			log.Warn("a list of revoked certificates is out of date; it is gone by all the same", "listener", c.name, "issuer", l.Issuer.String(), "next_update", l.NextUpdate)
		}
	}
}

func (c *Config) warn(now time.Time, log *slog.Logger, what, subject string, x *x509.Certificate) {
	left := x.NotAfter.Sub(now)
	step := 0 // how many of warnDays have begun
	for i, days := range warnDays {
		if left <= time.Duration(days)*24*time.Hour {
			step = i + 1
		}
	}
	if left <= 0 {
		step = len(warnDays) + 1
	}
	key := string(x.RawIssuer) + x.SerialNumber.String()
	if step <= c.warned[key] {
		return
	}
	c.warned[key] = step
	text := "a certificate ends soon"
	if left <= 0 {
		text = "a certificate has ended; clients will refuse it"
	}
	log.Warn(text, "listener", c.name, what, subject, "ends", x.NotAfter, "days", int(left/(24*time.Hour)))
}
