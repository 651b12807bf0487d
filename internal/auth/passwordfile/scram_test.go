package passwordfile

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/auth"
	"midge/internal/broker"
	"midge/internal/engine"
	"midge/internal/packet"
	"midge/internal/scram"
)

// scramFile is a file with alice, who has credentials for SCRAM, and bob, who has not.
func scramFile(t *testing.T) (f *File, name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "passwords")
	e, err := Edit(name, true)
	if err != nil {
		t.Fatal(err)
	}
	for user, kind := range map[string]Kind{"alice": SCRAM, "bob": PBKDF2} {
		h, err := kind.Hash([]byte("secret"))
		if err == nil {
			_, err = e.Set(user, h)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	save(t, e)
	f, err = Open(Options{Name: name, Last: true, Pool: auth.NewPool(1, 1, 10), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return f, name
}

// byMethod is a CONNECT with SCRAM.
func byMethod(data []byte) broker.Request {
	return broker.Request{Method: scram.Method, Data: data, Peer: engine.Peer{Remote: netip.AddrPortFrom(address(1), 1)}}
}

// attempt goes through SCRAM, and returns the last verdict, and the challenge.
func attempt(t *testing.T, c *auth.Chain, user, password string) (last broker.Verdict, challenge string) {
	t.Helper()
	client := scram.NewClient(user, []byte(password))
	data := client.First()
	c.Connect(byMethod(data), func(v broker.Verdict) { last = v })
	copy(data, "overwritten")
	if last.Next == nil {
		return last, ""
	}
	challenge = string(last.Data)
	answer, err := client.Final(last.Data)
	if err != nil {
		t.Fatal(err)
	}
	last.Next(answer, func(v broker.Verdict) { last = v })
	if !last.Code.Failed() {
		if err := client.Verify(last.Data); err != nil {
			t.Error(err)
		}
	}
	return last, challenge
}

// TestSCRAM lets in who knows the password, and nobody else.
func TestSCRAM(t *testing.T) {
	f, name := scramFile(t)
	c := &auth.Chain{Methods: map[string]auth.Link{scram.Method: bySCRAM{f}}}
	for _, tt := range []struct {
		user, password string
		code           packet.ReasonCode
	}{
		{"alice", "secret", packet.Success},
		{"alice", "Secret", packet.BadUserNameOrPassword},
		{"alice", "", packet.BadUserNameOrPassword},
		{"bob", "secret", packet.BadUserNameOrPassword}, // has no credentials for it
		{"nobody", "secret", packet.BadUserNameOrPassword},
	} {
		v, challenge := attempt(t, c, tt.user, tt.password)
		if v.Code != tt.code || v.Principal != tt.user || !strings.Contains(challenge, ",i=15000") {
			t.Errorf("%s, %q: %+v, %s", tt.user, tt.password, v, challenge)
		}
	}
	salt := func(user string) string {
		_, challenge := attempt(t, c, user, "x")
		_, s, _ := strings.Cut(challenge, ",s=")
		return s
	}
	before := [...]string{salt("alice"), salt("bob"), salt("nobody")}
	again, err := Open(Options{Name: name, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c.Methods[scram.Method] = bySCRAM{again}
	if after := [...]string{salt("alice"), salt("bob"), salt("nobody")}; after != before || before[1] == before[2] {
		t.Errorf("a start changes salts, which shows who is there: %v, %v", before, after)
	}
	for _, data := range []string{"", "nonsense", "p=tls-exporter,,n=alice,r=x", "n,a=bob,n=alice,r=x"} {
		var v broker.Verdict
		c.Connect(byMethod([]byte(data)), func(got broker.Verdict) { v = got })
		if v.Code != packet.NotAuthorized || v.Next != nil {
			t.Errorf("%q: %+v", data, v)
		}
	}
	if v := passwordVerdict(t, &auth.Chain{Links: []auth.Link{f}}, "alice", "secret"); v.Code.Failed() {
		t.Errorf("the password itself is not taken: %+v", v)
	}
	if v := passwordVerdict(t, &auth.Chain{Links: []auth.Link{f}}, "alice", "x"); v.Code != packet.BadUserNameOrPassword {
		t.Errorf("another password: %+v", v)
	}
	if err := os.WriteFile(name, []byte("bob:$6$YWJj$3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := again.Reload(); err != nil {
		t.Fatal(err)
	}
	if v, _ := attempt(t, c, "alice", "secret"); v.Code != packet.BadAuthenticationMethod {
		t.Errorf("a file without credentials: %+v", v)
	}
}

func passwordVerdict(t *testing.T, c *auth.Chain, user, password string) broker.Verdict {
	t.Helper()
	verdicts := make(chan broker.Verdict, 1)
	connect(c, user, password, address(1), func(v broker.Verdict) { verdicts <- v })
	return <-verdicts
}

// TestSCRAMThrottled counts wrong answers as wrong passwords, by the user's name, also
// if all challenges were there before the first answer.
func TestSCRAMThrottled(t *testing.T) {
	f, _ := scramFile(t)
	c := &auth.Chain{Throttle: auth.NewThrottle(3, time.Hour), Methods: map[string]auth.Link{scram.Method: bySCRAM{f}}}
	var open []func([]byte, func(broker.Verdict))
	for range 10 {
		c.Connect(byMethod([]byte("n,,n=alice,r=x")), func(v broker.Verdict) { open = append(open, v.Next) })
	}
	n := map[packet.ReasonCode]int{}
	for _, next := range open {
		next([]byte("c=biws,r=x,p="), func(v broker.Verdict) { n[v.Code]++ })
	}
	if n[packet.NotAuthorized] != 3 || n[packet.ConnectionRateExceeded] != 7 {
		t.Errorf("verdicts %v", n)
	}
	if v, _ := attempt(t, c, "alice", "secret"); v.Code != packet.ConnectionRateExceeded {
		t.Errorf("the right password meanwhile: %+v", v)
	}
	if v, _ := attempt(t, c, "bob", "secret"); v.Code != packet.BadUserNameOrPassword {
		t.Errorf("another user: %+v", v)
	}
}

// TestSCRAMKey keeps the key of salts that are made up, whatever is edited.
func TestSCRAMKey(t *testing.T) {
	_, name := scramFile(t)
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Edit(name, false)
	if err != nil {
		t.Fatal(err)
	}
	h, err := SCRAM.Hash([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Set("carol", h); err != nil {
		t.Fatal(err)
	}
	save(t, e)
	after, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(after, before) || bytes.Count(after, []byte(madeUpPrefix)) != 1 {
		t.Errorf("before\n%safter\n%s", before, after)
	}
}
