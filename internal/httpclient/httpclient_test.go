package httpclient

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func client(t *testing.T, change func(*Options)) *Client {
	t.Helper()
	o := Options{Timeout: time.Minute, Connections: 4, MaxAnswer: 100}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestAnswers takes a good answer, and says what is wrong with others.
func TestAnswers(t *testing.T) {
	var followed atomic.Bool
	never := make(chan struct{})
	mux := http.NewServeMux()
	for path, f := range map[string]http.HandlerFunc{
		"/good": func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) },
		"/redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/followed", http.StatusTemporaryRedirect)
		},
		"/followed": func(http.ResponseWriter, *http.Request) { followed.Store(true) },
		"/away":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"/nothing":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"/large": func(w http.ResponseWriter, _ *http.Request) {
			for range 1 << 20 { // a gibibyte
				if _, err := w.Write(make([]byte, 1024)); err != nil {
					return
				}
			}
			t.Error("all of a large answer was read")
		},
		"/header": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", maxHeader)) },
		"/half": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "50")
			fmt.Fprint(w, "half")
			panic(http.ErrAbortHandler)
		},
		"/none":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"/never": func(_ http.ResponseWriter, r *http.Request) { <-never },
	} {
		mux.HandleFunc(path, f)
	}
	s := httptest.NewServer(mux)
	defer s.Close()
	defer close(never)
	for path, want := range map[string]string{
		"/good": "", "/redirect": "redirect", "/away": "status 503", "/nothing": "status 204", "/large": "more than 100 bytes",
		"/header": "header", "/half": "EOF", "/none": "EOF", "/never": "in time",
	} {
		c := client(t, func(o *Options) {
			if path == "/never" {
				o.Timeout = 20 * time.Millisecond
			}
		})
		answer, err := c.Post(context.Background(), s.URL+path, []byte("question"))
		switch {
		case want == "" && (err != nil || string(answer) != "question"):
			t.Errorf("%s: %q, %v", path, answer, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "http://")):
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	if followed.Load() {
		t.Error("a redirect was followed")
	}
}

// TestHeaders sends the headers and the secret, and the new secret after Reload.
func TestHeaders(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"), " ", r.Header["X-Tenant"], " ", r.Header["Idempotency-Key"], r.Header.Get("Accept-Encoding"))
	}))
	defer s.Close()
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	c := client(t, func(o *Options) { o.SecretFile, o.Headers = file, []string{"X-Tenant: plant 7"} })
	want := func(want string) {
		t.Helper()
		if got, err := c.Post(context.Background(), s.URL, nil); err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	want("Bearer one [plant 7] []")
	write("two")
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	want("Bearer two [plant 7] []")
	for _, bad := range []string{"", " \n", "a\nb", "ä"} {
		write(bad)
		if err := c.Reload(); err == nil {
			t.Errorf("the secret %q is taken", bad)
		}
	}
	want("Bearer two [plant 7] []")
}

// TestNoProxyOfTheEnvironment goes through a proxy only if it is told to.
func TestNoProxyOfTheEnvironment(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "proxy of ", r.URL.Host) }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	const host = "http://nowhere.invalid/"
	if got, err := client(t, nil).Get(context.Background(), host); err == nil {
		t.Errorf("the proxy of the environment answers: %s", got)
	}
	got, err := client(t, func(o *Options) { o.Proxy = proxy.URL }).Get(context.Background(), host)
	if err != nil || string(got) != "proxy of nowhere.invalid" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestAuthorities trusts those that it is told to only.
func TestAuthorities(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "yes") }))
	defer s.Close()
	s.Config.ErrorLog = nil
	if _, err := client(t, nil).Get(context.Background(), s.URL); err == nil {
		t.Error("an authority that nobody trusts is trusted")
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pemOf(s.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := client(t, func(o *Options) { o.CA = []string{file} }).Get(context.Background(), s.URL)
	if err != nil || string(got) != "yes" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := New(Options{CA: []string{"/dev/null"}}); err == nil {
		t.Error("a file without a certificate is taken")
	}
}

// TestConnectionsAreUsedAgain has many requests on one connection, and one more when the
// service has closed it meanwhile.
func TestConnectionsAreUsedAgain(t *testing.T) {
	var opened atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "yes") }))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c := client(t, nil)
	ask := func() {
		t.Helper()
		if _, err := c.Post(context.Background(), s.URL, []byte("{}")); err != nil {
			t.Error(err)
		}
	}
	for range 20 {
		ask()
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for 20 requests", n)
	}
	s.CloseClientConnections()
	ask()
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
