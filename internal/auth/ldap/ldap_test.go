package ldap

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-ldap/ldap/v3"

	"midge/internal/auth"
	"midge/internal/broker"
	"midge/internal/engine"
	"midge/internal/packet"
)

// listener accepts connections, counts them and says nothing, until the test ends.
func listener(t *testing.T) (url string, accepted *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted = new(atomic.Int32)
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
		for _, c := range open {
			c.Close()
		}
	})
	return "ldap://" + l.Addr().String(), accepted
}

func options(url string) Options {
	return Options{
		URL: url, Where: Where{BindDN: "uid=%u,ou=people,dc=example,dc=org"}, Last: true,
		Timeout: 50 * time.Millisecond, Connections: 2, Queue: 100, Log: slog.New(slog.DiscardHandler),
	}
}

func open(t *testing.T, o Options) *Link {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func request(user, password string) *auth.Request {
	return &auth.Request{UserName: []byte(user), Password: []byte(password), Peer: engine.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:1")}}
}

func answer(l *Link, r *auth.Request) auth.Answer {
	answers := make(chan auth.Answer, 1)
	l.Check(r, func(a auth.Answer) { answers <- a })
	return <-answers
}

// TestNeverAsked has passwords and names with which the server is never asked: a bind
// without a password succeeds for everybody.
func TestNeverAsked(t *testing.T) {
	url, accepted := listener(t)
	l := open(t, options(url))
	for _, r := range []*auth.Request{
		request("alice", ""), {UserName: []byte("alice")}, request("", "secret"), request(strings.Repeat("x", maxName+1), "secret"),
	} {
		if a := answer(l, r); a.Code != packet.BadUserNameOrPassword || accepted.Load() != 0 {
			t.Errorf("%q, %q: %+v, %d connections", r.UserName, r.Password, a, accepted.Load())
		}
	}
	if a := answer(l, &auth.Request{}); a.Decision != auth.Next || accepted.Load() != 0 {
		t.Errorf("without a name: %+v", a)
	}
	c := &conn{}
	if _, err := c.check(&Options{Where: Where{BindDN: "uid=%u"}}, "x", ""); err != errWrong {
		t.Errorf("an empty password is not stopped before the bind: %v", err)
	}
}

// TestSilentServer proves that a server which does not answer, or is not there, holds up
// nobody for longer than the timeout: those that wait for their turn, too.
func TestSilentServer(t *testing.T) {
	silent, accepted := listener(t)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	for _, url := range []string{silent, "ldap://" + dead.Addr().String(), strings.Replace(silent, "ldap:", "ldaps:", 1)} {
		l := open(t, options(url))
		if url == silent {
			l.o.StartTLS = true
		}
		began := time.Now()
		answers := make(chan auth.Answer, 100)
		for range 20 {
			l.Check(request("alice", "secret"), func(a auth.Answer) { answers <- a })
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%s: Check has blocked for %v", url, took)
		}
		for range 20 {
			if a := <-answers; a.Code != packet.ServerBusy || a.Refusal != broker.NotChecked {
				t.Errorf("%s: %+v", url, a)
			}
		}
	}
	if n := accepted.Load(); n > 2*20 {
		t.Errorf("%d connections", n)
	}
}

// TestEscaping proves that no name changes where the server looks.
func TestEscaping(t *testing.T) {
	w := Where{BindDN: "uid=%u,ou=people,dc=example,dc=org"}
	s := Where{SearchBase: "dc=example,dc=org", SearchFilter: "(&(objectClass=person)(|(uid=%u)(mail=%u)))"}
	for _, name := range []string{
		"alice", "*", "a*", "*)(uid=*", "alice)(|(uid=*", `\2a`, `\`, "x,ou=admins", "x+cn=y", `"x"`, "#x", " x ", "<x>", "a;b", "a=b", "\x00", "a\x00b", "ü", ",", "=", "%u", "(", ")", "&", "|", "!",
	} {
		dn, err := ldap.ParseDN(w.dnOf(name))
		if err != nil || len(dn.RDNs) != 4 || len(dn.RDNs[0].Attributes) != 1 || dn.RDNs[0].Attributes[0].Value != name {
			t.Errorf("%q: the DN is %q: %+v, %v", name, w.dnOf(name), dn, err)
		}
		filter, err := ldap.CompileFilter(s.filterOf(name))
		if err != nil {
			t.Errorf("%q: the filter is %s: %v", name, s.filterOf(name), err)
			continue
		}
		either := filter.Children[1].Children
		if len(filter.Children) != 2 || len(either) != 2 || len(either[0].Children) != 2 || either[0].Children[1].Data.String() != name || either[1].Children[1].Data.String() != name {
			t.Errorf("%q: the filter is %s", name, s.filterOf(name))
		}
	}
}

// TestGroups takes the names of groups from DNs and from other values.
func TestGroups(t *testing.T) {
	for value, want := range map[string]string{
		"cn=plant,ou=groups,dc=example,dc=org": "plant", `cn=a\,b,dc=example`: "a,b", "plant": "plant", "": "", "cn=x+ou=y,dc=z": "cn=x+ou=y,dc=z", "a=b": "a=b",
	} {
		if got := groupOf(value); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

// TestCache remembers right passwords for a while.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cache
		c.init(time.Minute)
		c.put("alice", []byte("secret"), user{"alice", []string{"g"}})
		if u, ok := c.get("alice", []byte("secret")); !ok || u.name != "alice" || len(u.groups) != 1 {
			t.Errorf("%+v, %t", u, ok)
		}
		for _, other := range [][2]string{{"alice", "Secret"}, {"alic", "esecret"}, {"bob", "secret"}, {"alice", ""}} {
			if _, ok := c.get(other[0], []byte(other[1])); ok {
				t.Errorf("%q is remembered", other)
			}
		}
		time.Sleep(time.Minute)
		if _, ok := c.get("alice", []byte("secret")); ok || len(c.all) > 0 {
			t.Error("it is remembered for longer")
		}
		c.put("alice", []byte("secret"), user{})
		c.clear()
		if _, ok := c.get("alice", []byte("secret")); ok {
			t.Error("it is remembered after all")
		}
		for i := range maxCached + 1 {
			c.put(strings.Repeat("x", i%50), []byte{byte(i), byte(i >> 8)}, user{})
		}
		if len(c.all) > maxCached {
			t.Errorf("%d are remembered", len(c.all))
		}
		c.init(0)
		if c.put("alice", []byte("secret"), user{}); len(c.all) > 0 {
			t.Error("something is remembered although that is off")
		}
	})
}

// TestOptions refuses what can't work, before the broker starts.
func TestOptions(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	search := Where{SearchBase: "dc=example", SearchFilter: "(uid=%u)"}
	for want, change := range map[string]func(*Options){
		"is not of the form":   func(o *Options) { o.URL = "http://x" },
		"of the form ldap://h": func(o *Options) { o.URL = "ldap://" },
		"from the start":       func(o *Options) { o.URL, o.StartTLS = "ldaps://x", true },
		"either bind_dn or":    func(o *Options) { o.BindDN = "" },
		"bind_dn or search":    func(o *Options) { o.SearchBase, o.SearchFilter = "dc=x", "(uid=%u)" },
		"it has no %u, the":    func(o *Options) { o.BindDN = "uid=alice" },
		"is no DN":             func(o *Options) { o.BindDN, o.GroupAttribute = "%u@example", "memberOf" },
		"search_filter":        func(o *Options) { o.Where = search; o.SearchFilter = "(uid=%u" },
		"filter \"(uid=x)\"":   func(o *Options) { o.Where = search; o.SearchFilter = "(uid=x)" },
		"search_base":          func(o *Options) { o.Where = search; o.SearchBase = "example" },
		"go together":          func(o *Options) { o.Where = search; o.SearchDN = "cn=x" },
		"no such file":         func(o *Options) { o.Where = search; o.SearchDN, o.SearchPasswordFile = "cn=x", dir+"/none" },
		"no password in its":   func(o *Options) { o.Where = search; o.SearchDN, o.SearchPasswordFile = "cn=x", file("empty", "\n") },
		"no certificates":      func(o *Options) { o.CA = []string{file("ca", "x")} },
		"read authorities":     func(o *Options) { o.CA = []string{dir + "/none"} },
	} {
		o := options("ldap://127.0.0.1")
		change(&o)
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
