package etcd

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/settings"
)

// soon is more than it takes to notice a change, and less than it takes until etcd is asked
// whether there was one.
const soon = 5 * time.Second

// TestWatch follows keys that come, change and go, alone and many at a time.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.put("/midge/a", "1")
		g := c.member(t)
		cl, log := client(t, nil, g)
		w := watch(t, cl, log)
		await := func(what string, n int, keys string) {
			t.Helper()
			after(soon)
			if gotN, got := w.got(); gotN != n || got != keys {
				t.Errorf("%s: %d changes, the last %q; want %d and %q", what, gotN, got, n, keys)
			}
		}
		await("nothing", 0, "")
		c.put("/midge/b", "2")
		await("one comes", 1, "a=1 b=2")
		c.put("/midge/a", "")
		await("one goes", 1, "b=2")
		c.put("/midge/b", "2")
		await("one is written as it was", 0, "")
		c.put("/midge/b", "", "/midge/c", "3", "/midge/d", "4")
		await("a transaction", 1, "c=3 d=4")
		for i := range 1000 {
			c.put("/midge/c", fmt.Sprint(i))
			after(100 * time.Microsecond)
		}
		await("1,000 one after the other", 1, "c=999 d=4")
		for i := range 600 {
			c.put("/midge/c", fmt.Sprint(i))
			after(50 * time.Millisecond)
		}
		after(soon)
		if n, keys := w.got(); n < 10 || n > 20 || keys != "c=599 d=4" {
			t.Errorf("20 a second for half a minute: %d changes, the last %s", n, keys)
		}
		reads := g.called("kv/range")
		after(10 * time.Minute)
		if n := g.called("kv/range") - reads; n != 20 {
			t.Errorf("etcd is asked %d times in ten quiet minutes", n)
		}
		if log.String() != "" {
			t.Errorf("the log has\n%s", log)
		}
	})
}

// TestAway takes the cluster away and has it come back with other keys. That is said once
// each, and the keys stay what they were.
func TestAway(t *testing.T) {
	for name, tt := range map[string]struct {
		goes  func(*gateway)
		comes func(*gateway)
	}{
		"killed": {(*gateway).kill, func(g *gateway) { g.set(func(g *gateway) { g.down = false }) }},
		"frozen": {func(g *gateway) { g.set(func(g *gateway) { g.before = hang }) }, func(g *gateway) { g.set(func(g *gateway) { g.before = nil }) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster()
				c.put("/midge/a", "1")
				g, other := c.member(t), c.member(t)
				cl, log := client(t, nil, g, other)
				w := watch(t, cl, log)
				after(time.Minute)
				other.kill()
				tt.goes(g)
				c.put("/midge/a", "2")
				after(10 * time.Minute)
				if n, _ := w.got(); n > 1 { // a frozen one may still have said that there is news
					t.Errorf("%d changes while it was away", n)
				}
				if n := strings.Count(log.String(), "etcd is away"); n != 1 || strings.Contains(log.String(), "back") {
					t.Errorf("the log has\n%s", log)
				}
				before := g.called("kv/range")
				after(10 * time.Minute)
				if n := g.called("kv/range") - before; n > 120 {
					t.Errorf("it was asked %d times in ten minutes", n)
				}
				c.put("/midge/a", "3")
				tt.comes(g)
				after(time.Minute)
				if _, keys := w.got(); keys != "a=3" {
					t.Errorf("it is back with a=3, and the keys are %q", keys)
				}
				c.put("/midge/a", "4")
				after(soon)
				if _, keys := w.got(); keys != "a=4" {
					t.Errorf("later it has a=4, and the keys are %q", keys)
				}
				if strings.Count(log.String(), "etcd is away") != 1 || strings.Count(log.String(), "etcd is back") != 1 {
					t.Errorf("the log has\n%s", log)
				}
			})
		})
	}
}

// TestAwayAtStart proves that keys are taken that come after the start.
func TestAwayAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		g := c.member(t)
		g.kill()
		cl, log := client(t, nil, g)
		w := watch(t, cl, log)
		after(time.Minute)
		if log.String() != "" {
			t.Errorf("the start has said it, and the log has\n%s", log)
		}
		c.put("/midge/a", "1")
		g.set(func(g *gateway) { g.down = false })
		after(time.Minute)
		if n, keys := w.got(); n != 1 || keys != "a=1" || strings.Count(log.String(), "etcd is back") != 1 {
			t.Errorf("%d changes, the last %q; the log has\n%s", n, keys, log)
		}
	})
}

// TestOtherMember kills the member that is watched: the next one is, and nothing is said.
func TestOtherMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.put("/midge/a", "1")
		g, other := c.member(t), c.member(t)
		cl, log := client(t, nil, g, other)
		w := watch(t, cl, log)
		after(time.Second)
		g.kill()
		c.put("/midge/a", "2")
		after(soon)
		if _, keys := w.got(); keys != "a=2" || log.String() != "" {
			t.Errorf("the keys are %q, and the log has\n%s", keys, log)
		}
	})
}

// TestCompaction has what happened between reading and watching compacted.
func TestCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.put("/midge/a", "1")
		g := c.member(t)
		once := true
		g.set(func(g *gateway) {
			g.before = func(_ http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "/watch") && once {
					once = false
					c.put("/midge/a", "2")
					c.put("/midge/a", "3")
					c.set(func() { c.compacted = c.revision - 1 })
				}
				return false
			}
		})
		cl, log := client(t, nil, g)
		w := watch(t, cl, log)
		after(soon)
		if _, keys := w.got(); once || keys != "a=3" || log.String() != "" {
			t.Errorf("the keys are %q, and the log has\n%s", keys, log)
		}
		c.put("/midge/a", "4")
		after(soon)
		if _, keys := w.got(); keys != "a=4" {
			t.Errorf("later the keys are %q", keys)
		}
	})
}

func (c *cluster) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// TestTokenEndsInWatch ends tokens while a watch runs and between watches.
func TestTokenEndsInWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.password = "swordfish"
		c.put("/midge/a", "1")
		g := c.member(t)
		cl, log := client(t, func(s *settings.Etcd) { s.User, s.Password = "ann", "swordfish" }, g)
		w := watch(t, cl, log)
		for i := range 5 {
			after(time.Minute)
			c.set(func() { c.tokens++ })
			c.put("/midge/a", fmt.Sprint(i+2))
			after(soon)
			if _, keys := w.got(); keys != fmt.Sprint("a=", i+2) {
				t.Errorf("the keys are %q, want a=%d", keys, i+2)
			}
		}
		if log.String() != "" {
			t.Errorf("the log has\n%s", log)
		}
	})
}

// TestWatchIsBroken gives the watch what it should not get. The keys are up to date after a
// while all the same, the log says what is wrong once if it lasts, and etcd isn't asked all the time.
func TestWatchIsBroken(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		said   int
	}{
		"refused":      {func(w http.ResponseWriter, r *http.Request) { refuse(w, 403, 7, "etcdserver: permission denied") }, 1},
		"silent":       {func(w http.ResponseWriter, r *http.Request) { hang(w, r) }, 1},
		"ends at once": {func(w http.ResponseWriter, r *http.Request) {}, 0},
		"half a line":  {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"result":{"events":[`) }, 0},
		"canceled":     {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"result":{"canceled":true}}`+"\n") }, 0},
		"compacted": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"result":{"canceled":true,"compact_revision":"9"}}`+"\n")
		}, 0},
		"an error": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"error":{"message":"etcdserver: no leader","http_code":503}}`+"\n")
		}, 0},
		"held back": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"result":{"created":true}}`+"\n")
			w.(http.Flusher).Flush()
			hang(w, r)
		}, 0},
		"events without end": {func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := io.WriteString(w, `{"result":{"events":[{}]}}`+"\n"); err != nil {
					return
				}
			}
		}, 0},
		"a line without end": {func(w http.ResponseWriter, r *http.Request) {
			for chunk := strings.Repeat("1", 1<<20); ; {
				if _, err := io.WriteString(w, chunk); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster()
				c.put("/midge/a", "1")
				g := c.member(t)
				g.set(func(g *gateway) {
					g.before = func(w http.ResponseWriter, r *http.Request) bool {
						if !strings.HasSuffix(r.URL.Path, "/watch") {
							return false
						}
						io.Copy(io.Discard, r.Body)
						tt.answer(w, r)
						return true
					}
				})
				cl, log := client(t, nil, g)
				w := watch(t, cl, log)
				for i := range 3 {
					c.put("/midge/a", fmt.Sprint(i+2))
					after(time.Minute)
					if n, keys := w.got(); n != 1 || keys != fmt.Sprint("a=", i+2) {
						t.Errorf("%d changes, the last %q; want a=%d", n, keys, i+2)
					}
				}
				if n := g.called("kv/range"); n > 100 {
					t.Errorf("it was asked %d times in three minutes", n)
				}
				if n := strings.Count(log.String(), "can't be watched"); n != tt.said || strings.Contains(log.String(), "away") {
					t.Errorf("the log has\n%s", log)
				}
			})
		})
	}
}
