package passwordfile

import (
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/auth"
	"midge/internal/broker"
	"midge/internal/engine"
	"midge/internal/packet"
)

// counted is a hash that counts its checks. They take a second each.
type counted struct {
	password string
	checks   *atomic.Int32
}

func (c counted) matches(password []byte) bool {
	c.checks.Add(1)
	time.Sleep(time.Second)
	return string(password) == c.password
}

func (c counted) memory() int64 { return 1 }

// file is a File of one user, alice, whose hash is counted.
func file(last bool) (f *File, checks *atomic.Int32) {
	checks = new(atomic.Int32)
	e := &entry{text: "1", hash: counted{"right", checks}}
	f = &File{last: last, pool: auth.NewPool(2, 100, 10), throttle: auth.NewThrottle(3, time.Minute), key: newKey()}
	f.users.Store(&users{byName: map[string]*entry{"alice": e}, list: []*entry{e}, seed: maphash.MakeSeed()})
	return f, checks
}

func connect(c *auth.Chain, user, password string, from netip.Addr, done func(broker.Verdict)) {
	r := broker.Request{UserName: []byte(user), Password: []byte(password), Peer: engine.Peer{Remote: netip.AddrPortFrom(from, 1)}}
	c.Connect(r, done)
	copy(r.Password, "overwritten") // the slices are borrowed
	copy(r.UserName, "overwritten")
}

func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

// TestUnknownUserCosts proves that a check of an unknown user takes as long as
// one of a known one, unless another link is to look at it.
func TestUnknownUserCosts(t *testing.T) {
	for _, last := range []bool{true, false} {
		for _, user := range []string{"alice", "nobody"} {
			synctest.Test(t, func(t *testing.T) {
				f, checks := file(last)
				began := time.Now()
				var v broker.Verdict
				var took time.Duration
				connect(&auth.Chain{Links: []auth.Link{f}}, user, "wrong", address(1), func(got broker.Verdict) { v, took = got, time.Since(began) })
				time.Sleep(time.Minute)
				synctest.Wait()
				want := time.Second
				if user == "nobody" && !last {
					want = 0
				}
				if v.Code != packet.BadUserNameOrPassword || took != want || checks.Load() != int32(want/time.Second) {
					t.Errorf("last=%t %s: %v after %v and %d checks, want %v", last, user, v.Code, took, checks.Load(), want)
				}
			})
		}
	}
	synctest.Test(t, func(t *testing.T) { // a password that matches the hash which it is compared with
		f, _ := file(true)
		connect(&auth.Chain{Links: []auth.Link{f}}, "nobody", "right", address(1), func(v broker.Verdict) {
			if v.Code != packet.BadUserNameOrPassword {
				t.Errorf("an unknown user is let in: %+v", v)
			}
		})
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}

// TestStorm has many clients come back with one right password: it is checked as
// often as checks run at a time, and then known.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, checks := file(true)
		f.pool = auth.NewPool(2, 100, 10_000)
		in := 0
		var last time.Time
		began := time.Now()
		answers := make(chan broker.Verdict, 1000)
		for i := range 1000 {
			connect(&auth.Chain{Links: []auth.Link{f}, Throttle: f.throttle}, "alice", "right", address(i), func(v broker.Verdict) { answers <- v })
		}
		for range 1000 {
			if v := <-answers; v.Code == packet.Success && v.Principal == "alice" {
				in++
			}
			last = time.Now()
		}
		if in != 1000 || checks.Load() > 2 || last.Sub(began) > 2*time.Second {
			t.Errorf("%d came in after %v and %d checks", in, last.Sub(began), checks.Load())
		}
		connect(&auth.Chain{Links: []auth.Link{f}}, "alice", "wrong", address(1), func(v broker.Verdict) { answers <- v })
		if v := <-answers; v.Code != packet.BadUserNameOrPassword {
			t.Errorf("a wrong password: %+v", v)
		}
	})
}

// TestManyWrong lets many wrong passwords come at one time: what waits when the
// tries are used up is not checked any more.
func TestManyWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, checks := file(true)
		f.pool = auth.NewPool(2, 100, 10_000)
		codes := make(chan packet.ReasonCode, 1000)
		for range 1000 {
			connect(&auth.Chain{Links: []auth.Link{f}, Throttle: f.throttle}, "alice", "wrong", address(1), func(v broker.Verdict) { codes <- v.Code })
		}
		n := map[packet.ReasonCode]int{}
		for range 1000 {
			n[<-codes]++
		}
		if checks.Load() > 3+1 || n[packet.BadUserNameOrPassword] != int(checks.Load()) || n[packet.BadUserNameOrPassword]+n[packet.ConnectionRateExceeded] != 1000 {
			t.Errorf("%d checks, %v", checks.Load(), n)
		}
	})
}

// TestTooManyWait refuses what the queue has no room for, and tells that from a
// wrong password.
func TestTooManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := file(true)
		n := map[broker.Refusal]int{}
		verdicts := make(chan broker.Verdict, 100)
		for i := range 100 {
			connect(&auth.Chain{Links: []auth.Link{f}}, "alice", "wrong", address(i), func(v broker.Verdict) { verdicts <- v })
		}
		for range 100 {
			n[(<-verdicts).Refusal]++
		}
		if n[broker.NotChecked] != 100-2-10 || n[broker.WrongCredentials] != 12 {
			t.Error(n)
		}
	})
}

// TestReload puts a new file in force: new users and passwords at once, and a
// password that was checked is known still if its hash stays.
func TestReload(t *testing.T) {
	name := filepath.Join(t.TempDir(), "passwords")
	line := func(user, password string) string {
		h, err := PBKDF2.Hash([]byte(password))
		if err != nil {
			t.Fatal(err)
		}
		return user + ":" + h + "\n"
	}
	write := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	alice := line("alice", "a")
	write(alice + "broken\n" + line("bob", "b"))
	f, err := Open(Options{Name: name, Last: true, Pool: auth.NewPool(2, 1, 10), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil || f.Users() != 2 {
		t.Fatalf("%d users, %v", f.Users(), err)
	}
	if !strings.Contains(log.String(), "line=2") {
		t.Errorf("the log does not have the broken line:\n%s", log.String())
	}
	try := func(user, password string) string {
		codes := make(chan packet.ReasonCode)
		go connect(&auth.Chain{Links: []auth.Link{f}}, user, password, address(1), func(v broker.Verdict) { codes <- v.Code })
		return fmt.Sprintf("%v", <-codes)
	}
	wrong := packet.BadUserNameOrPassword.String()
	if a, b := try("alice", "a"), try("bob", "b"); a != "success" || b != "success" {
		t.Errorf("alice %s, bob %s", a, b)
	}
	write(alice + line("carol", "c"))
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if f.users.Load().byName["alice"].proof.Load() == nil {
		t.Error("what was checked is forgotten")
	}
	if a, b, c := try("alice", "a"), try("bob", "b"), try("carol", "c"); a != "success" || b != wrong || c != "success" {
		t.Errorf("alice %s, bob %s, carol %s", a, b, c)
	}
	write(line("alice", "other"))
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if a, b := try("alice", "a"), try("alice", "other"); a != wrong || b != "success" {
		t.Errorf("alice with the old one %s, with the new one %s", a, b)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("reload of nothing: %v", err)
	}
	if a := try("alice", "other"); a != "success" {
		t.Errorf("after that alice gets %s", a)
	}
}
