package acme

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/settings"
)

// TestHTTP proves that the server for the authority's requests has nothing for others, and that
// who connects and says nothing, as often as is allowed, keeps nobody out for good.
func TestHTTP(t *testing.T) {
	cfg := settings.ACME{Domains: []string{"a.test"}, Cache: filepath.Join(t.TempDir(), "cache"), HTTP: "127.0.0.1:0"}
	g, err := New(&cfg, "test", slog.New(slog.DiscardHandler), func() {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { g.http.serve(ctx); close(ended) }()
	address := g.http.listener.Addr().String()
	if err := g.manager.Cache.Put(ctx, "token+http-01", []byte("the answer")); err != nil {
		t.Fatal(err)
	}
	var silent []net.Conn
	for range maxRequests {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	for _, c := range silent {
		c.Close()
	}
	for _, tt := range []struct {
		path, host string
		status     int
		body       string
	}{
		{"/", "a.test", 404, ""},
		{"/.well-known/acme-challenge/token", "a.test", 200, "the answer"},
		{"/.well-known/acme-challenge/token", "a.test:5002", 200, "the answer"},
		{"/.well-known/acme-challenge/token", "b.test", 403, ""},
		{"/.well-known/acme-challenge/nothing", "a.test", 404, ""},
		{"/.well-known/acme-challenge/..%2facme_account+key", "a.test", 404, ""},
	} {
		request, err := http.NewRequest(http.MethodGet, "http://"+address+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = tt.host
		r, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != tt.status || tt.body != "" && string(body) != tt.body {
			t.Errorf("%s of %s: %d %q; want %d %q", tt.path, tt.host, r.StatusCode, body, tt.status, tt.body)
		}
	}
	stop()
	<-ended
	if c, err := net.DialTimeout("tcp", address, time.Minute); err == nil {
		c.Close()
		t.Error("it listens after the end")
	}
}

// TestFaults has errors name the setting.
func TestFaults(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	for _, tt := range []struct {
		cfg  settings.ACME
		want string
	}{
		{settings.ACME{Cache: dir, CA: filepath.Join(dir, "none.pem")}, "tls.acme.ca: open"},
		{settings.ACME{Cache: dir, CA: "acme_test.go"}, "tls.acme.ca: acme_test.go has no certificate"},
		{settings.ACME{Cache: "acme_test.go/x"}, "tls.acme.cache: mkdir"},
		{settings.ACME{Cache: dir, HTTP: taken.Addr().String()}, "tls.acme.http: listen"},
	} {
		if _, err := New(&tt.cfg, "test", slog.New(slog.DiscardHandler), func() {}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v; want %s", err, tt.want)
		}
	}
}
