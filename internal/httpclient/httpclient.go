// Package httpclient asks HTTP services for small answers. It goes where it is sent
// and nowhere else: it follows no redirect, and knows no proxy but the one that
// it is given. What an answer may take, of time and of bytes, is bounded.
package httpclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

const (
	maxHeader = 64 << 10         // bytes of the header of an answer
	maxSecret = 64 << 10         // bytes of a file with a secret
	idleTime  = 90 * time.Second // that a connection waits to be used again
)

// Options are what a Client is made of.
type Options struct {
	Headers     []string      // "Name: value"
	SecretFile  string        // with what stands behind Authorization: Bearer; "" for none
	CA          []string      // PEM files; none: the system's authorities
	Proxy       string        // the URL of one; "" for none
	Timeout     time.Duration // of a request as a whole
	Connections int           // at one time
	MaxAnswer   int           // bytes
}

// Client sends requests. It may be used by several goroutines.
type Client struct {
	options Options
	headers http.Header
	secret  atomic.Pointer[string]
	http    atomic.Pointer[http.Client]
}

// New reads the files that o names.
func New(o Options) (*Client, error) {
	c := &Client{options: o, headers: http.Header{}}
	for _, h := range o.Headers {
		name, value, _ := strings.Cut(h, ":")
		c.headers.Add(name, strings.TrimSpace(value))
	}
	return c, c.Reload()
}

// Reload reads the files again. If there is something wrong with them, what was read
// before stays.
func (c *Client) Reload() error {
	secret, err := readSecret(c.options.SecretFile)
	if err != nil {
		return err
	}
	roots, err := readRoots(c.options.CA)
	if err != nil {
		return err
	}
	next, err := c.build(roots)
	if err != nil {
		return err
	}
	c.secret.Store(&secret)
	if old := c.http.Swap(next); old != nil {
		old.CloseIdleConnections()
	}
	return nil
}

// Close closes the connections that wait to be used again.
func (c *Client) Close() { c.http.Load().CloseIdleConnections() }

func (c *Client) build(roots *x509.CertPool) (*http.Client, error) {
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: c.options.Timeout}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    c.options.Timeout,
		DisableCompression:     true, // a few bytes could become many
		MaxIdleConns:           c.options.Connections,
		MaxIdleConnsPerHost:    c.options.Connections,
		MaxConnsPerHost:        c.options.Connections,
		IdleConnTimeout:        idleTime,
		MaxResponseHeaderBytes: maxHeader,
	}
	if c.options.Proxy != "" {
		u, err := url.Parse(c.options.Proxy)
		if err != nil {
			return nil, errors.New("the proxy is no URL")
		}
		t.Proxy = http.ProxyURL(u)
	}
	return &http.Client{
		Transport:     t,
		Timeout:       c.options.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// Get fetches what a URL has.
func (c *Client) Get(ctx context.Context, url string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, url, nil)
}

// Post sends a question in JSON. It may arrive twice: if the service closes a connection
// that was to be used again, the question is sent once more.
func (c *Client) Post(ctx context.Context, url string, question []byte) ([]byte, error) {
	return c.do(ctx, http.MethodPost, url, question)
}

func (c *Client) do(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range c.headers {
		r.Header[name] = values
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "midge")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
		r.Header["Idempotency-Key"] = nil // it isn't sent: it says that the request may be repeated
	}
	if secret := *c.secret.Load(); secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	answer, err := c.http.Load().Do(r)
	if err != nil {
		return nil, cause(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, statusError(answer)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, int64(c.options.MaxAnswer)+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", cause(err))
	}
	if len(text) > c.options.MaxAnswer {
		return nil, fmt.Errorf("the answer has more than %d bytes", c.options.MaxAnswer)
	}
	return text, nil
}

func statusError(answer *http.Response) error {
	if answer.StatusCode >= 300 && answer.StatusCode < 400 {
		return fmt.Errorf("the answer is a redirect (status %d), which is not followed", answer.StatusCode)
	}
	return fmt.Errorf("the answer has status %d and not 200", answer.StatusCode)
}

// cause is an error without the URL, which whoever logs it has, too.
func cause(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return errors.New("no answer in time")
		}
		return u.Err
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		return errors.New("no answer in time")
	}
	return err
}

func readSecret(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	text, err := readFile(name, maxSecret)
	if err != nil {
		return "", fmt.Errorf("read the secret: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" || strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", fmt.Errorf("the secret in %s is empty, or has characters that no header may have", name)
	}
	return secret, nil
}

func readRoots(names []string) (*x509.CertPool, error) {
	if len(names) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	for _, name := range names {
		text, err := readFile(name, 16<<20)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("there is no certificate in %s", name)
		}
	}
	return pool, nil
}

func readFile(name string, max int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(text)) > max {
		err = fmt.Errorf("%s has more than %d bytes", name, max)
	}
	return text, err
}
