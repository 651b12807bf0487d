package passwordfile

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestHash verifies what Hash makes, of each kind.
func TestHash(t *testing.T) {
	const password = "correct horse ü\x00x"
	for _, kind := range Kinds {
		text, err := kind.Hash([]byte(password))
		if err != nil {
			t.Fatal(err)
		}
		if h, err := parseHash(text); err != nil || !h.matches([]byte(password)) {
			t.Errorf("%s does not match: %v", text, err)
		}
	}
	if _, err := Bcrypt.Hash(make([]byte, 73)); err == nil {
		t.Error("bcrypt takes 73 bytes, of which it would look at 72")
	}
}

// TestMosquitto verifies what the real mosquitto_passwd writes.
func TestMosquitto(t *testing.T) {
	if _, err := exec.LookPath("mosquitto_passwd"); err != nil {
		t.Skip("mosquitto_passwd is not installed")
	}
	name := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"sha512", "sha512-pbkdf2"} {
		if out, err := exec.Command("mosquitto_passwd", "-H", kind, "-b", name, kind, "pass "+kind).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	u, faults := parse(text)
	if len(faults) > 0 || len(u.list) != 2 {
		t.Fatalf("%d users, %v:\n%s", len(u.list), faults, text)
	}
	for user, e := range u.byName {
		if !e.hash.matches([]byte("pass "+user)) || e.hash.matches([]byte("pass")) {
			t.Errorf("%s: %s", user, e.text)
		}
	}
}

// vectors are hashes that others have made.
var vectors = []struct{ hash, password string }{
	// The tests of the reference implementation of argon2.
	{"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"},
	{"$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA", "password"},
	// Openwall's of bcrypt. htpasswd writes 2y, OpenBSD 2b; they are the same.
	{"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
	{"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
	{"$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		h, err := parseHash(v.hash)
		if err != nil {
			t.Errorf("%s: %v", v.hash, err)
		} else if !h.matches([]byte(v.password)) || h.matches([]byte(v.password+"x")) {
			t.Errorf("%s is not of its password", v.hash)
		}
	}
}

// TestFaults reports each line that can't be read by its number, and reads the
// others.
func TestFaults(t *testing.T) {
	good := func(name string) string {
		return name + ":$6$YWJj$" + "3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw=="
	}
	tests := []struct{ line, err string }{
		{good("alice"), ""},
		{"", ""},
		{"# a comment: of no user", ""},
		{"   ", ""},
		{"nobody", "no colon"},
		{":$6$", "no user name"},
		{"plain:secret", "not hashed"},
		{"empty:", "no hash"},
		{good("alice"), "is there already"},
		{good("with blank"), ""},
		{"\xff:$6$x$y", "not UTF-8"},
		{"a1:$apr1$x$y", "not known"},
		{"a2:$" + strings.Repeat("long", 1000) + "$y", "not known"},
		{"a3:$6$onlyone", "form $6$"},
		{"a4:$6$!!!$!!!", "not base64"},
		{"a5:$7$0$YWJj$YWJj", "iterations"},
		{"a6:$7$10000000$YWJj$YWJj", "iterations"},
		{"a7:$7$101$YWJj", "form $7$"},
		{"a8:$2b$31$4bp3JQ8kGUb7IZ1DRIMjbO6SK1D5Hfq2lrX1RlzXJ2K.HU8yPDpW2", "takes too long"},
		{"a9:$2b$10$short", "form $2b$"},
		{"b1:$argon2id$v=16$m=8,t=1,p=1$YWJj$YWJj", "version"},
		{"b2:$argon2id$v=19$m=4294967295,t=1,p=1$YWJj$YWJj", "outside"},
		{"b3:$argon2id$v=19$m=1048576,t=4294967295,p=1$YWJj$YWJj", "outside"},
		{"b4:$argon2id$v=19$m=8,t=0,p=1$YWJj$YWJj", "not of the form"},
		{"b5:$argon2id$v=19$m=8,t=1,p=1$YWJj$YWJj", "a hash 16"},
		{"b6:$argon2id$v=19$m=8,t=1$YWJj$YWJj", "not of the form"},
		{"b7:$argon2id$v=19$m=8,t=1,p=9$YWJj$YWJj", "outside"},
		{"b8:$argon2d$v=19$m=8,t=1,p=1$YWJj$YWJj", "not known"},
		{good("last") + "\r", ""},
	}
	var text strings.Builder
	for _, tt := range tests {
		text.WriteString(tt.line + "\n")
	}
	u, faults := parse([]byte(strings.TrimSuffix(text.String(), "\n")))
	for i, tt := range tests {
		at := slices.IndexFunc(faults, func(f Fault) bool { return f.Line == i+1 })
		switch {
		case (at >= 0) != (tt.err != ""):
			t.Errorf("line %d, %q: faults %v", i+1, tt.line, faults)
		case at >= 0 && (!strings.Contains(faults[at].Error(), tt.err) || len(faults[at].Error()) > 250):
			t.Errorf("line %d: %v, want %s", i+1, faults[at], tt.err)
		}
	}
	if len(u.list) != 3 || u.byName["with blank"] == nil || u.byName["last"] == nil {
		t.Errorf("%d users", len(u.list))
	}
}

// FuzzParse proves that no file panics, and that what is read can be checked in
// bounded memory.
func FuzzParse(f *testing.F) {
	f.Add([]byte("a:$6$YWJj$3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==\n"))
	for _, v := range vectors {
		f.Add([]byte("b:" + v.hash))
	}
	f.Add([]byte("c:$7$101$YWJj$3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==\r\n#\n\n:"))
	f.Fuzz(func(t *testing.T, text []byte) {
		u, faults := parse(text)
		lines := strings.Count(string(text), "\n") + 1
		if len(u.list)+len(faults) > lines {
			t.Errorf("%d users and %d faults in %d lines", len(u.list), len(faults), lines)
		}
		for _, e := range u.list {
			if e.hash.memory() > maxArgonMemory<<10 {
				t.Errorf("%s takes %d bytes", e.text, e.hash.memory())
			}
			if a, ok := e.hash.(*argon); ok && uint64(a.m)*uint64(a.t) > 1024 {
				continue // too slow for here
			}
			if s, ok := e.hash.(*stretched); ok && s.iterations > 1000 {
				continue
			}
			if _, ok := e.hash.(crypted); ok {
				continue
			}
			e.hash.matches([]byte("password"))
		}
	})
}
