package scram

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestVector is the example of RFC 7677 section 3, on both sides.
func TestVector(t *testing.T) {
	const (
		clientFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
		serverFirst = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
		clientFinal = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
		serverFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
	)
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	f, err := ParseFirst([]byte(clientFirst))
	if err != nil || f.User != "user" {
		t.Fatalf("%+v, %v", f, err)
	}
	s, challenge := f.challenge(derive(t, "pencil", salt, 4096), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
	if string(challenge) != serverFirst {
		t.Errorf("the server's first message is\n%s, want\n%s", challenge, serverFirst)
	}
	final, err := s.Finish([]byte(clientFinal))
	if err != nil || string(final) != serverFinal {
		t.Errorf("the server's last message is %s, %v; want %s", final, err, serverFinal)
	}
	c := newClient("user", []byte("pencil"), "rOprNGfwEbeRWgbNEkqO")
	if got := c.First(); string(got) != clientFirst {
		t.Errorf("the client's first message is %s", got)
	}
	if got, err := c.Final([]byte(serverFirst)); err != nil || string(got) != clientFinal {
		t.Errorf("the client's last message is\n%s, %v; want\n%s", got, err, clientFinal)
	}
	if err := c.Verify([]byte(serverFinal)); err != nil {
		t.Error(err)
	}
}

func derive(t *testing.T, password string, salt []byte, iterations int) Credentials {
	t.Helper()
	c, err := Derive([]byte(password), salt, iterations)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange runs one between a client and a server.
func exchange(user, password string, of func(user string) Credentials) error {
	c := NewClient(user, []byte(password))
	f, err := ParseFirst(c.First())
	if err != nil {
		return err
	}
	if f.User != user {
		return fmt.Errorf("the user is %q", f.User)
	}
	s, challenge := f.Challenge(of(f.User))
	answer, err := c.Final(challenge)
	if err != nil {
		return err
	}
	final, err := s.Finish(answer)
	if err != nil {
		return err
	}
	return c.Verify(final)
}

func TestExchange(t *testing.T) {
	weak := func(password string) func(string) Credentials {
		return func(string) Credentials { return derive(t, password, []byte("0123456789abcdef"), MinIterations) }
	}
	for _, user := range []string{"a", "a,b=c", "=2C", "ü", "a b"} {
		if err := exchange(user, "secret", weak("secret")); err != nil {
			t.Errorf("%s: %v", user, err)
		}
		if err := exchange(user, "Secret", weak("secret")); !errors.Is(err, ErrWrong) {
			t.Errorf("%s with a wrong password: %v", user, err)
		}
	}
	fake := func(user string) Credentials { return MadeUp([]byte("a key of some length"), user, MinIterations) }
	if err := exchange("nobody", "secret", fake); !errors.Is(err, ErrWrong) {
		t.Errorf("somebody who isn't there: %v", err)
	}
	a, b := fake("nobody"), fake("nobody")
	if other := fake("no"); !bytes.Equal(a.Salt, b.Salt) || bytes.Equal(a.Salt, other.Salt) || len(a.Salt) != saltBytes {
		t.Error("salts that are made up are not stable")
	}
	if c, err := New([]byte("x")); err != nil || c.Matches([]byte("y")) || !c.Matches([]byte("x")) {
		t.Error("credentials match another password, or not theirs")
	}
}

// TestFirstRefused has first messages that are not taken.
func TestFirstRefused(t *testing.T) {
	for _, m := range []string{
		"", "n", "n,", "n,,", "n,,n=user", "n,,r=abc,n=user", "n,,n=,r=abc", "n,,n=user,r=", "n,,n=user,r=a\x7fb", "n,,n=user,r=a b",
		"n,,n=us=er,r=abc", "n,,n=us=2,r=abc", "n,,m=x,n=user,r=abc", "n,,n=user,r=abc,m=x", "n,,n=user,r=abc,", "n,,n=user,r=abc,x",
		"x,,n=user,r=abc", "p=tls-exporter,,n=user,r=abc", "n,a=other,n=user,r=abc", "n,,n=us\x00er,r=abc", "n,,n=\xff,r=abc",
		"n,,n=" + strings.Repeat("x", maxMessage) + ",r=abc",
	} {
		if f, err := ParseFirst([]byte(m)); err == nil {
			t.Errorf("%q is taken: %+v", m, f)
		}
	}
	for _, m := range []string{"n,,n=user,r=abc", "y,,n=user,r=abc", "n,a=user,n=user,r=abc", "n,,n=user,r=abc,x=1,y=2"} {
		if _, err := ParseFirst([]byte(m)); err != nil {
			t.Errorf("%q: %v", m, err)
		}
	}
}

// TestFinishRefused has last messages that are not taken, although the proof is of the
// right form.
func TestFinishRefused(t *testing.T) {
	f, _ := ParseFirst([]byte("n,,n=user,r=abc"))
	s, challenge := f.challenge(derive(t, "x", []byte("0123456789abcdef"), MinIterations), "def")
	good, err := (&Client{password: []byte("x"), nonce: "abc", bare: "n=user,r=abc"}).Final(challenge)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Finish(good); err != nil {
		t.Fatal(err)
	}
	proof := string(good[bytes.LastIndex(good, []byte(",p=")):])
	for _, m := range []string{
		"", "c=biws", "c=biws,r=abcdef", "c=biws,r=abc" + proof, "c=eSws,r=abcdef" + proof, "r=abcdef,c=biws" + proof, "c=biws,r=abcdef,m=1" + proof,
		"c=biws,r=abcdef,p=", "c=biws,r=abcdef,p=AAAA", "c=biws,r=abcdef" + proof + ",x=1", "c=biws,r=abcdef" + strings.TrimSuffix(proof, "="),
		"c=biws,r=abcdef,p=" + encode(make([]byte, keyBytes)), "c=biws,r=abcdef,x=1" + proof,
	} {
		if final, err := s.Finish([]byte(m)); err == nil {
			t.Errorf("%q is taken: %s", m, final)
		}
	}
}

// TestChallengeRefused has a client refuse what would help a false server to guess the
// password, or take it too long.
func TestChallengeRefused(t *testing.T) {
	for _, m := range []string{
		"", "r=abc,s=AAAA,i=4096", "r=xyzabc,s=AAAA,i=4096", "r=abcd,s=,i=4096", "r=abcd,s=!,i=4096", "r=abcd,s=AAAA,i=4095", "r=abcd,s=AAAA,i=100000000",
		"r=abcd,s=AAAA,i=-1", "r=abcd,s=AAAA", "m=1,r=abcd,s=AAAA,i=4096", "e=other-error",
	} {
		c := newClient("user", []byte("x"), "abc")
		if _, err := c.Final([]byte(m)); err == nil || c.Answered() {
			t.Errorf("%q is taken", m)
		}
	}
	c := newClient("user", []byte("x"), "abc")
	if _, err := c.Final([]byte("r=abcd,s=AAAA,i=4096")); err != nil || !c.Answered() {
		t.Fatal(err)
	}
	for _, m := range []string{"", "v=", "v=AAAA", "e=invalid-proof", "v=" + encode(make([]byte, keyBytes))} {
		if c.Verify([]byte(m)) == nil {
			t.Errorf("%q is taken", m)
		}
	}
}

// FuzzMessages gives both sides any messages. None panics, and no proof is right but
// by knowing the password.
func FuzzMessages(f *testing.F) {
	f.Add([]byte("n,,n=user,r=abc"), []byte("c=biws,r=abcdef,p="+encode(make([]byte, keyBytes))))
	f.Add([]byte("y,a=u=2C,n=u=2C,r=abc,x=1"), []byte("c=eSxhPXU9MkMs,r=abcdef,p="+encode(make([]byte, keyBytes))))
	f.Add([]byte("p=tls-exporter,,n=user,r=abc"), []byte("r=abcd,s=AAAA,i=4096"))
	f.Add([]byte("r=abcd,s=AAAA,i=4096"), []byte("v="+encode(make([]byte, keyBytes))))
	credentials := MadeUp([]byte("a key of some length"), "user", MinIterations)
	f.Fuzz(func(t *testing.T, first, last []byte) {
		m, err := ParseFirst(first)
		if err != nil {
			return
		}
		if again, err := ParseFirst([]byte(m.header + m.bare)); err != nil || again != m {
			t.Errorf("%q: %+v, again %+v, %v", first, m, again, err)
		}
		s, _ := m.challenge(credentials, "def")
		if final, err := s.Finish(last); err == nil {
			t.Errorf("%q, %q: %s", first, last, final)
		}
		_ = newClient("user", nil, "abc").Verify(last)
	})
}
