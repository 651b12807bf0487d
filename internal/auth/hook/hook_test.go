package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/auth"
	"midge/internal/broker"
	"midge/internal/engine"
	"midge/internal/packet"
)

// server is a service that a function stands for. It counts.
type server struct {
	answer func(q map[string]any) (string, error)
	takes  time.Duration

	asked, now, most atomic.Int32
	reloads          int
}

func (s *server) Post(_ context.Context, _ string, text []byte) ([]byte, error) {
	s.asked.Add(1)
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	time.Sleep(s.takes)
	var q map[string]any
	if err := json.Unmarshal(text, &q); err != nil {
		return nil, err
	}
	answer, err := s.answer(q)
	return []byte(answer), err
}

func (s *server) Reload() error { s.reloads++; return nil }
func (s *server) Close()        {}

func open(s *server, change func(*Options)) *Link {
	o := Options{
		URL: "http://test", Poster: s, Concurrency: 4, Queue: 10, CacheTime: time.Minute, DeniedTime: 10 * time.Second, CacheSize: 1 << 20,
		Failures: 3, RetryAfter: 5 * time.Second, Throttle: auth.NewThrottle(0, time.Second), Counters: &auth.Counters{}, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	return &Link{Service: New(o)}
}

// from is a CONNECT from one of many addresses.
func from(n int, user, password string) *auth.Request {
	r := &auth.Request{ClientID: "c", UserName: []byte(user), Password: []byte(password), Version: packet.V5}
	r.Peer = engine.Peer{Listener: "l", Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), uint16(n))}
	return r
}

// check waits for the answer to a CONNECT.
func check(l *Link, r *auth.Request) auth.Answer {
	answers := make(chan auth.Answer, 1)
	l.Check(r, func(a auth.Answer) { answers <- a })
	return <-answers
}

// passwords lets users in whose password is their name.
func passwords(q map[string]any) (string, error) {
	if q["user"] == q["password"] {
		return `{"result":"allow"}`, nil
	}
	return `{"result":"deny","reason":"no such user\n"}`, nil
}

// TestParseConnect reads answers, and says what is wrong with others.
func TestParseConnect(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`{"result":"allow"}`, ""},
		{` {"result":"next"} `, ""},
		{`{"result":"deny","reason":"x"}`, ""},
		{`{"result":"allow","user":"u","client_id":"c","groups":["g"],"rules":["allow publish a"],"expires":1900000000}`, ""},
		{`{"result":"allow","user":null}`, ""},
		{`{"result":"allow","rules":[]}`, ""},
		{``, "not understood"},
		{`{}`, "result"},
		{`[]`, "not understood"},
		{`null`, "result"},
		{`"allow"`, "not understood"},
		{`{"result":"yes"}`, "result"},
		{`{"result":true}`, "not understood"},
		{`{"result":"allow"`, "not understood"},
		{`{"result":"allow"} {"result":"deny"}`, "behind"},
		{`{"result":"allow","rule":["deny all #"]}`, "unknown field"},
		{`{"result":"allow","rules":["deny everything"]}`, "rules"},
		{`{"result":"allow","rules":"allow all #"}`, "not understood"},
		{`{"result":"allow","user":"a\u0000b"}`, "name"},
		{`{"result":"allow","groups":["` + strings.Repeat("x", maxName+1) + `"]}`, "name"},
		{`{"result":"allow","groups":[""` + strings.Repeat(`,""`, maxGroups) + `]}`, "groups"},
		{`{"result":"allow","expires":"tomorrow"}`, "not understood"},
		{`{"result":"allow","expires":-1}`, "seconds"},
		{`{"result":"deny","user":"u"}`, "who the client is"},
		{strings.Repeat(`{"result":`, 100_000), "not understood"},
	} {
		_, err := parseConnect([]byte(tt.text))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%.80s: %v, want %q", tt.text, err, tt.want)
		}
	}
	for text, ok := range map[string]bool{`{"result":"allow"}`: true, `{"result":"deny","reason":"x"}`: true, `{"result":"next"}`: false, `{"result":"allow","user":"x"}`: false} {
		if _, err := parseAccess([]byte(text)); (err == nil) != ok {
			t.Errorf("%s about a topic: %v", text, err)
		}
	}
}

// TestQuestion has what a service wants to know in it.
func TestQuestion(t *testing.T) {
	r := from(7, "alice", "x")
	for want, change := range map[string]func(){
		`{"action":"connect","client_id":"c","user":"alice","address":"10.0.0.7","listener":"l","password":"x","protocol":"5.0"}`: func() {},
		`{"action":"connect","client_id":"c","assigned":true,"listener":"l","password_base64":"/w==","protocol":"3.1.1"}`: func() {
			r.UserName, r.Password, r.Assigned, r.Remote, r.Version = nil, []byte{0xff}, true, netip.AddrPort{}, packet.V311
		},
		`{"action":"connect","client_id":"c","listener":"l","password":"","protocol":"3.1"}`: func() {
			r.UserName, r.Password, r.Assigned, r.Remote, r.Version = nil, []byte{}, false, netip.AddrPort{}, packet.V31
		},
	} {
		*r = *from(7, "alice", "x")
		if change(); string(connecting(r)) != want {
			t.Errorf("%s\nwant %s", connecting(r), want)
		}
	}
}

// TestCheck lets in, refuses, and leaves to others, and tells who the client is.
func TestCheck(t *testing.T) {
	end := time.Now().Add(time.Hour).Unix()
	s := &server{answer: func(q map[string]any) (string, error) {
		switch q["user"] {
		case "next":
			return `{"result":"next"}`, nil
		case "other":
			return fmt.Sprintf(`{"result":"allow","user":"somebody","client_id":"theirs","groups":["g"],"rules":["allow publish a"],"expires":%d}`, end), nil
		}
		return passwords(q)
	}}
	l := open(s, nil)
	if a := check(l, from(1, "alice", "alice")); a.Decision != auth.Allow || a.User != "alice" || a.Rules != nil || !a.Expires.IsZero() {
		t.Errorf("%+v", a)
	}
	if a := check(l, from(1, "alice", "bob")); a.Decision != auth.Deny || a.Refusal != broker.WrongCredentials || a.Code != packet.BadUserNameOrPassword || a.Reason != "no such user " {
		t.Errorf("%+v", a)
	}
	if a := check(l, from(1, "next", "x")); a.Decision != auth.Next {
		t.Errorf("%+v", a)
	}
	a := check(l, from(1, "other", "x"))
	if a.Decision != auth.Allow || a.User != "somebody" || a.ClientID != "theirs" || a.Groups[0] != "g" || a.Rules == nil || a.Expires.Unix() != end {
		t.Errorf("%+v", a)
	}
	r := from(1, "", "")
	r.UserName, r.Password = nil, nil
	s.answer = func(map[string]any) (string, error) { return `{"result":"deny"}`, nil }
	if a := check(l, r); a.Refusal != broker.NoCredentials || a.Code != packet.NotAuthorized {
		t.Errorf("nobody in particular: %+v", a)
	}
}

// TestCache asks once, for each question, as long as an answer is remembered; and a wrong password
// never finds the answer of the right one.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: passwords}
		l := open(s, nil)
		asks := func(n int32, r *auth.Request, want auth.Decision) {
			t.Helper()
			before := s.asked.Load()
			if a := check(l, r); a.Decision != want {
				t.Errorf("%+v", a)
			}
			if got := s.asked.Load() - before; got != n {
				t.Errorf("asked %d times, want %d", got, n)
			}
		}
		asks(1, from(1, "alice", "alice"), auth.Allow)
		asks(0, from(1, "alice", "alice"), auth.Allow)
		asks(1, from(1, "alice", "alicf"), auth.Deny)
		asks(0, from(1, "alice", "alicf"), auth.Deny)
		asks(0, from(1, "alice", "alice"), auth.Allow)
		asks(1, from(1, "alic", "ealice"), auth.Deny) // the same bytes, cut elsewhere
		asks(1, from(2, "alice", "alice"), auth.Allow)
		r := from(1, "alice", "alice")
		r.ClientID = "d"
		asks(1, r, auth.Allow)
		r.UserName = nil
		asks(1, r, auth.Deny)
		time.Sleep(11 * time.Second)
		asks(1, from(1, "alice", "alicf"), auth.Deny)
		asks(0, from(1, "alice", "alice"), auth.Allow)
		time.Sleep(time.Minute)
		asks(1, from(1, "alice", "alice"), auth.Allow)
		l.Reload()
		asks(1, from(1, "alice", "alice"), auth.Allow)
		if s.reloads != 1 {
			t.Error("the client was not reloaded")
		}
		soon := time.Now().Add(3 * time.Second).Unix()
		s.answer = func(map[string]any) (string, error) { return fmt.Sprintf(`{"result":"allow","expires":%d}`, soon), nil }
		asks(1, from(3, "a", "a"), auth.Allow)
		asks(0, from(3, "a", "a"), auth.Allow)
		time.Sleep(3 * time.Second)
		asks(1, from(3, "a", "a"), auth.Allow) // the first one has ended, and so does the second at once
		asks(1, from(3, "a", "a"), auth.Allow)
		l = open(s, func(o *Options) { o.CacheTime, o.DeniedTime = 0, 0 })
		asks(1, from(1, "alice", "alice"), auth.Allow)
		asks(1, from(1, "alice", "alice"), auth.Allow)
	})
}

// TestCacheIsBounded remembers so many answers, and wrong passwords don't push out right ones. No
// password is in it.
func TestCacheIsBounded(t *testing.T) {
	l := open(&server{answer: passwords}, func(o *Options) { o.CacheSize = 100_000 })
	for i := range 10 {
		check(l, from(i, "secret-word", "secret-word"))
	}
	for i := range 1000 {
		check(l, from(i, "alice", fmt.Sprint("wrong", i)))
	}
	c := &l.cache
	if n := c.denied.used.Len(); n < 20 || n > 100_000/4/entryBytes || c.denied.bytes > 100_000/4 || n != len(c.denied.byKey) {
		t.Errorf("%d wrong ones with %d bytes", n, c.denied.bytes)
	}
	if c.allowed.used.Len() != 10 {
		t.Errorf("%d right ones", c.allowed.used.Len())
	}
	for key, e := range c.allowed.byKey {
		if text := fmt.Sprintf("%s %+v %+v", key[:], e.Value, *e.Value.(*entry).answer); bytes.Contains([]byte(text), []byte("secret-word")) {
			t.Errorf("a password is kept: %s", text)
		}
	}
	for i := range 1000 {
		check(l, from(i, "x", "x"))
	}
	if c.allowed.bytes > 75_000 || c.allowed.used.Len() < 200 || c.allowed.used.Len() != len(c.allowed.byKey) {
		t.Errorf("%d right ones with %d bytes", c.allowed.used.Len(), c.allowed.bytes)
	}
}

// TestBreaker leaves a service alone that fails, but for one question at a time.
func TestBreaker(t *testing.T) {
	for _, next := range []bool{false, true} {
		for what, bad := range map[string]func(map[string]any) (string, error){
			"no answer":     func(map[string]any) (string, error) { return "", errors.New("no answer in time") },
			"broken answer": func(map[string]any) (string, error) { return `{"result":`, nil },
		} {
			t.Run(fmt.Sprintf("%s/next=%t", what, next), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log bytes.Buffer
					s := &server{answer: bad}
					l := open(s, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)); o.Queue = 100 })
					l.Next = next
					want := auth.Deny
					if next {
						want = auth.Next
					}
					refused := func() {
						t.Helper()
						if a := check(l, from(1, "a", "a")); a.Decision != want || !next && (a.Code != packet.ServerUnavailable || a.Refusal != broker.NotChecked) {
							t.Errorf("%+v", a)
						}
					}
					for range 50 {
						refused()
					}
					if n := s.asked.Load(); n != 3 {
						t.Errorf("asked %d times, want 3", n)
					}
					for range 4 {
						time.Sleep(5 * time.Second)
						refused()
						refused()
					}
					if n := s.asked.Load(); n != 7 {
						t.Errorf("asked %d times, want 7", n)
					}
					// One question at a time finds out.
					s.takes = time.Second
					time.Sleep(5 * time.Second)
					var wg sync.WaitGroup
					for range 20 {
						wg.Go(refused)
					}
					wg.Wait()
					if n := s.asked.Load(); n != 8 {
						t.Errorf("asked %d times, want 8", n)
					}
					s.answer = passwords
					time.Sleep(5 * time.Second)
					for range 10 {
						if a := check(l, from(1, "a", "a")); a.Decision != auth.Allow {
							t.Errorf("it answers again: %+v", a)
						}
					}
					if n := strings.Count(log.String(), "\n"); n > 3 || !strings.Contains(log.String(), "answers again") || !strings.Contains(log.String(), "unavailable") {
						t.Errorf("the log has %s", log.String())
					}
				})
			})
		}
	}
}

// TestStorm has many clients at once ask a slow service. So many questions are asked at a time, so
// many wait, and others are refused at once; then all is as before.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: passwords, takes: 5 * time.Second}
		l := open(s, func(o *Options) { o.Concurrency, o.Queue = 32, 1000 })
		start := time.Now()
		var let, busy, other int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 10_000 {
			wg.Add(1)
			l.Check(from(i, "a", "a"), func(a auth.Answer) {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case a.Decision == auth.Allow:
					let++
				case a.Code == packet.ServerBusy && a.Refusal == broker.NotChecked && time.Since(start) == 0:
					busy++
				default:
					other++
				}
				wg.Done()
			})
		}
		if time.Since(start) != 0 {
			t.Error("Check blocks")
		}
		wg.Wait()
		if let != 1032 || busy != 10_000-1032 || other != 0 || s.most.Load() != 32 {
			t.Errorf("%d let in, %d refused at once, %d otherwise; %d at a time", let, busy, other, s.most.Load())
		}
		if n := l.options.Counters.HookBusy.Load(); n != uint64(busy) {
			t.Errorf("%d are counted", n)
		}
		if a := check(l, from(20_000, "a", "a")); a.Decision != auth.Allow {
			t.Errorf("afterwards: %+v", a)
		}
	})
}

// TestGoneCostNothing sends no question for clients that have gone while it waited.
func TestGoneCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: passwords, takes: 5 * time.Second}
		l := open(s, func(o *Options) { o.Concurrency, o.Queue = 1, 1000 })
		var gone atomic.Bool
		answers := 0
		for i := range 500 {
			r := from(i, "a", "a")
			r.Gone = &gone
			l.Check(r, func(auth.Answer) { answers++ })
		}
		synctest.Wait()
		gone.Store(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := s.asked.Load(); n != 1 || answers != 500 {
			t.Errorf("asked %d times, want 1; %d answers", n, answers)
		}
	})
}

// TestGuessing has somebody try a thousand passwords a second. Few get to the service.
func TestGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: passwords, takes: 10 * time.Millisecond}
		throttle := auth.NewThrottle(10, 10*time.Second)
		l := open(s, func(o *Options) { o.Throttle, o.Queue = throttle, 1000 })
		c := &auth.Chain{Links: []auth.Link{l}, Throttle: throttle}
		for i := range 3000 {
			c.Connect(*from(1, "alice", fmt.Sprint(i)), func(broker.Verdict) {})
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if n := s.asked.Load(); n > 10+50 {
			t.Errorf("%d questions about 3000 wrong passwords", n)
		}
	})
}

// FuzzAnswer proves that no answer panics, and that one which is understood is understood in one way.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"result":"allow","user":"u","client_id":"c","groups":["g"],"rules":["allow publish a/%c/#"],"expires":1900000000}`))
	f.Add([]byte(`{"result":"deny","reason":"no\u0000\ud800"}`))
	f.Add([]byte(`{"result":"next"}`))
	f.Add([]byte(`{"result":"allow","rules":["allow user=\"a b\" qos=0,1 all #", "deny group=x* receive a/+"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := parseConnect(text)
		if (a == nil) == (err == nil) {
			t.Fatalf("%v, %v", a, err)
		}
		if a != nil {
			a.of(from(1, "a", "a"))
			if len(a.reason) > maxReason || strings.ContainsAny(a.reason, "\n\r\x00") {
				t.Errorf("the reason %q", a.reason)
			}
		}
		if b, err := parseAccess(text); (b == nil) == (err == nil) {
			t.Fatalf("%v, %v", b, err)
		}
	})
}
