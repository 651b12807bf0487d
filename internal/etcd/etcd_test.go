package etcd

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/settings"
)

// hang answers nothing, until the client goes.
func hang(_ http.ResponseWriter, r *http.Request) bool {
	io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
	return true
}

// TestRead reads from clusters of which some members do what they should not.
func TestRead(t *testing.T) {
	answer := func(do func(w http.ResponseWriter, r *http.Request)) func(*gateway) {
		return func(g *gateway) {
			g.before = func(w http.ResponseWriter, r *http.Request) bool { do(w, r); return true }
		}
	}
	for name, tt := range map[string]struct {
		broken func(*gateway)
		takes  time.Duration
		want   string // of the error where there is no other member
	}{
		"dead":   {func(g *gateway) { g.down = true }, 0, "connection refused"},
		"silent": {func(g *gateway) { g.before = hang }, 5 * time.Second, "no answer within 5s"},
		"redirect": {answer(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://0/elsewhere", http.StatusTemporaryRedirect)
		}), 0, `it redirects to "http://0/elsewhere", and redirects are not followed`},
		"half": {answer(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"header":{"revision":"3"},"kvs":[{"key":"L21pZGdl`)
		}), 0, "the answer ends in the middle"},
		"cut": {answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"header":`)
		}), 0, "the answer ends in the middle"},
		"empty":       {answer(func(w http.ResponseWriter, r *http.Request) {}), 0, "the answer ends in the middle"},
		"not etcd":    {answer(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") }), 0, "the answer is not one of etcd"},
		"no gateway":  {answer(http.NotFound), 0, "it has no JSON gateway"},
		"overwhelmed": {answer(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(502) }), 0, "it answers with status 502"},
		"no leader":   {answer(func(w http.ResponseWriter, r *http.Request) { refuse(w, 503, 14, "etcdserver: no leader") }), 0, "no leader"},
		"without end": {answer(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"header":{"revision":"`)
			for chunk := strings.Repeat("1", 64<<10); ; {
				if _, err := io.WriteString(w, chunk); err != nil {
					return
				}
			}
		}), 0, "the answer has more than 32 MiB"},
		"one byte a second": {answer(func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := io.WriteString(w, " "); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				time.Sleep(time.Second)
			}
		}), 5 * time.Second, "no answer within 5s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster()
				c.put("/midge/a", "1", "/midge/b/c", "2", "/midg", "x", "/midge", "x", "/midge0", "x", "/other/a", "x")
				broken, good := c.member(t), c.member(t)
				broken.set(tt.broken)
				alone, _ := client(t, nil, broken)
				if keys, err := alone.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "http://0: ") || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("alone: %v, %v; want %s", keys, err, tt.want)
				}
				both, _ := client(t, nil, broken, good)
				for range 2 { // the second time it goes to the good one at once
					began := time.Now()
					keys, err := both.Read(t.Context())
					if text(keys) != "a=1 b/c=2" || err != nil {
						t.Errorf("both: %v, %v", keys, err)
					}
					if took := time.Since(began); took != tt.takes {
						t.Errorf("it took %v, want %v", took, tt.takes)
					}
					tt.takes = 0
				}
				good.kill()
				if _, err := both.Read(t.Context()); err == nil || strings.Count(err.Error(), "http://") < 2 {
					t.Errorf("no member is left: %v", err)
				}
			})
		})
	}
}

// TestLarge reads 10,000 keys, and values of 1 MiB.
func TestLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		cl, _ := client(t, nil, c.member(t))
		for i := range 10_000 {
			c.keys[fmt.Sprintf("/midge/listener/l%d/address", i)] = stored{"tcp://127.0.0.1:0", int64(i)}
		}
		if keys, err := cl.Read(t.Context()); len(keys) != 10_000 || err != nil {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		cl.maxBytes = maxAnswer
		for i := range 4 {
			c.put(fmt.Sprint("/midge/large", i), strings.Repeat("v", 1<<20))
		}
		if keys, err := cl.Read(t.Context()); len(keys) != 10_004 || err != nil {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		cl.maxBytes = 4 << 20
		if _, err := cl.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "choose a prefix of its own") {
			t.Errorf("more than may be: %v", err)
		}
	})
}

// TestPassword proves that tokens are got, and again when they have ended, and that no error
// has the password in it.
func TestPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.put("/midge/a", "1")
		g := c.member(t)
		known, _ := client(t, func(s *settings.Etcd) { s.User, s.Password = "ann", "swordfish" }, g)
		for _, password := range []string{"", "swordfish"} { // without, it asks nobody
			c.password = password
			if keys, err := known.Read(t.Context()); text(keys) != "a=1" || err != nil {
				t.Errorf("with password %q: %v, %v", password, keys, err)
			}
		}
		before := g.called("auth/authenticate")
		known.Read(t.Context())
		if n := g.called("auth/authenticate"); n != before {
			t.Error("the token was not used again")
		}
		c.tokens++
		if keys, err := known.Read(t.Context()); text(keys) != "a=1" || err != nil || g.called("auth/authenticate") != before+1 {
			t.Errorf("after the end of the token: %v, %v", keys, err)
		}
		wrong, _ := client(t, func(s *settings.Etcd) { s.User, s.Password = "ann", "sardine" }, g)
		if _, err := wrong.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "log in as ann: authentication failed") || strings.Contains(err.Error(), "sardine") {
			t.Errorf("with a wrong password: %v", err)
		}
		nobody, _ := client(t, nil, g)
		if _, err := nobody.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "set config.etcd.user") {
			t.Errorf("without a user: %v", err)
		}
	})
}

func TestPasswordFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "password")
	for _, tt := range []struct {
		text string
		mode os.FileMode
		want string // or the error
	}{
		{"swordfish\n", 0o640, "swordfish"},
		{"swordfish\r\nsecond", 0o600, "swordfish"},
		{"swordfish", 0o604, "chmod o= " + name},
		{"\n", 0o600, "is empty"},
	} {
		if err := os.WriteFile(name, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, tt.mode); err != nil {
			t.Fatal(err)
		}
		cfg := settings.Etcd{PasswordFile: name}
		c, err := New(&cfg)
		if err != nil && !strings.Contains(err.Error(), tt.want) || err == nil && c.password != tt.want {
			t.Errorf("%q with mode %o: %v", tt.text, tt.mode, err)
		}
	}
}
