package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"midge/internal/auth"
	"midge/internal/broker"
)

// shop serves keys that tests exchange.
type shop struct {
	takes time.Duration
	n     atomic.Int32

	mu   sync.Mutex
	text string
	err  error
}

// has is what is fetched from now on.
func (s *shop) has(text string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text, s.err = text, err
}

func (s *shop) fetch(ctx context.Context) ([]byte, error) {
	s.n.Add(1)
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return []byte(s.text), s.err
}

// records is a log that is read while others write.
type records struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *records) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *records) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// set is a JWKS with the public key of a signer, under a name.
func set(t testing.TB, s *signer, id string) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": []map[string]string{s.jwk(t, id)}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lasting are claims that are good for a year: in a bubble of synctest it is the year 2000.
func lasting() jwt.MapClaims {
	return jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(365 * 24 * time.Hour).Unix()}
}

// public is a signer with a public key.
func public(t testing.TB) *signer {
	t.Helper()
	for _, s := range signers(t) {
		if s.method.Alg() == "EdDSA" {
			return &s
		}
	}
	t.Fatal("there is no EdDSA")
	return nil
}

func openRemote(t *testing.T, s *shop, log *records) *Link {
	t.Helper()
	l, err := Open(Options{
		Keys: "https://test/keys", User: "sub", Fetch: s.fetch, Refresh: time.Hour,
		Log: slog.New(slog.NewTextHandler(log, nil)), Counters: &auth.Counters{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// answerTo waits for the answer about a token.
func answerTo(l *Link, token string) auth.Answer {
	answers := make(chan auth.Answer, 1)
	l.Check(&auth.Request{ClientID: "c", Password: []byte(token)}, func(a auth.Answer) { answers <- a })
	return <-answers
}

// TestFetchedKeys waits for the first keys, fetches them again when their time is over, and once before
// that for a name that is not known.
func TestFetchedKeys(t *testing.T) {
	s := public(t)
	synctest.Test(t, func(t *testing.T) {
		var log records
		keys := &shop{text: set(t, s, "1"), takes: time.Second}
		l := openRemote(t, keys, &log)
		defer l.Close()
		want := func(id string, d auth.Decision, fetches int32) {
			t.Helper()
			if a := answerTo(l, s.sign(t, id, lasting())); a.Decision != d {
				t.Errorf("%+v", a)
			}
			if n := keys.n.Load(); n != fetches {
				t.Errorf("%d fetches, want %d", n, fetches)
			}
		}
		want("1", auth.Allow, 1) // it waited for them
		keys.has(set(t, s, "2"), nil)
		want("2", auth.Allow, 2)
		for range 100 {
			want("made up", auth.Deny, 2)
		}
		want("1", auth.Deny, 2)
		time.Sleep(earlyInterval)
		for i := range 100 {
			if a := answerTo(l, s.sign(t, fmt.Sprint("made up", i), lasting())); a.Decision != auth.Deny || a.Refusal != broker.WrongCredentials {
				t.Errorf("%+v", a)
			}
		}
		want("2", auth.Allow, 3)
		keys.has(set(t, s, "3"), nil)
		time.Sleep(time.Hour + 2*time.Second)
		want("3", auth.Allow, 4)
		if err := l.Reload(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		want("3", auth.Allow, 5)
		if log.String() != "" {
			t.Errorf("the log has %s", log.String())
		}
	})
}

// TestKeysStay has the last keys stay while others can't be fetched, which is said once.
func TestKeysStay(t *testing.T) {
	s := public(t)
	secretSet := `{"keys":[{"kty":"oct","kid":"1","k":"` + strings.Repeat("A", 64) + `"}]}`
	synctest.Test(t, func(t *testing.T) {
		var log records
		keys := &shop{text: set(t, s, "1")}
		l := openRemote(t, keys, &log)
		defer l.Close()
		allowed := func() {
			t.Helper()
			if a := answerTo(l, s.sign(t, "1", lasting())); a.Decision != auth.Allow {
				t.Errorf("%+v", a)
			}
		}
		allowed()
		for _, bad := range []string{"", "<html>this page is long enough to be a secret</html>", `{"keys":[]}`, secretSet, `{"keys":`, strings.Repeat("[", 1000)} {
			keys.has(bad, nil)
			time.Sleep(time.Hour)
			allowed()
		}
		keys.has("", errors.New("away"))
		time.Sleep(10 * time.Hour)
		allowed()
		if n := keys.n.Load(); n < 600 || n > 1000 { // once a minute
			t.Errorf("%d fetches", n)
		}
		if strings.Count(log.String(), "\n") != 1 || l.options.Counters.KeysFailed.Load() < 600 {
			t.Errorf("%d are counted; the log has %s", l.options.Counters.KeysFailed.Load(), log.String())
		}
		keys.has(set(t, s, "1"), nil)
		time.Sleep(time.Hour)
		allowed()
		if !strings.Contains(log.String(), "again") {
			t.Errorf("the log has %s", log.String())
		}
	})
}

// TestNoKeysYet refuses tokens, and does not take them for wrong, as long as no keys were fetched.
func TestNoKeysYet(t *testing.T) {
	s := public(t)
	synctest.Test(t, func(t *testing.T) {
		var log records
		keys := &shop{err: errors.New("away"), takes: time.Second}
		l := openRemote(t, keys, &log)
		var answers atomic.Int32
		token := []byte(s.sign(t, "1", lasting()))
		for range 2 * maxWaiting {
			l.Check(&auth.Request{ClientID: "c", Password: token}, func(a auth.Answer) {
				if answers.Add(1); a.Decision != auth.Deny || a.Refusal != broker.NotChecked {
					t.Errorf("%+v", a)
				}
			})
		}
		if n := answers.Load(); n != maxWaiting {
			t.Errorf("%d are answered at once", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := answers.Load(); n != 2*maxWaiting {
			t.Errorf("%d answers", n)
		}
		keys.has(set(t, s, "1"), nil)
		time.Sleep(2 * time.Minute)
		if a := answerTo(l, s.sign(t, "1", lasting())); a.Decision != auth.Allow {
			t.Errorf("%+v", a)
		}
		l.Close()
		synctest.Wait()
		if a := answerTo(l, s.sign(t, "2", lasting())); a.Decision != auth.Deny {
			t.Errorf("after its end: %+v", a)
		}
	})
}

// TestRules takes rules and groups from claims, and refuses tokens whose rules are broken.
func TestRules(t *testing.T) {
	s := signer{jwt.SigningMethodHS256, []byte(secret), nil}
	l := link(t, secret)
	for _, tt := range []struct {
		claim  any
		reason string // "": it is allowed
		rules  bool
	}{
		{nil, "", false},
		{[]string{"allow publish a/%c/#", "deny all #"}, "", true},
		{"allow subscribe a", "", true},
		{[]string{}, "", true},
		{[]string{"allow everything"}, "rules", false},
		{[]any{"allow all #", 7}, "number 2", false},
		{map[string]any{"publish": "a"}, "list of texts", false},
		{7, "list of texts", false},
	} {
		c := good()
		if tt.claim != nil {
			c["rules"] = tt.claim
		}
		a := check(l, s.sign(t, "", c))
		if tt.reason == "" && a.Decision != auth.Allow || tt.reason != "" && (a.Decision != auth.Deny || !strings.Contains(a.Reason, tt.reason)) || (a.Rules != nil) != tt.rules {
			t.Errorf("%v: %+v", tt.claim, a)
		}
	}
	c := good()
	c["groups"] = []any{"g", 7}
	if a := check(l, s.sign(t, "", c)); a.Decision != auth.Deny || !strings.Contains(a.Reason, "groups") {
		t.Errorf("%+v", a)
	}
	c["groups"], c["roles"], c["acl"] = "g", []string{"h"}, "allow publish a"
	l.options.Groups, l.options.Rules = "roles", "acl"
	if a := check(l, s.sign(t, "", c)); a.Groups[0] != "h" || a.Rules == nil {
		t.Errorf("%+v", a)
	}
	l.options.Groups, l.options.Rules = "", ""
	if a := check(l, s.sign(t, "", c)); a.Groups != nil || a.Rules != nil {
		t.Errorf("%+v", a)
	}
}
