package acl

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"midge/internal/packet"
	"midge/internal/topic"
	"midge/internal/variable"
)

func mustParse(t testing.TB, text string) *list {
	t.Helper()
	l, err := parse([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return l
}

func subjectOf(user, client, listener string) *subject {
	return &subject{Client: variable.Client{User: user, ID: client, Listener: listener}}
}

// ask reads a question such as "alice/phone publish a/b": user, client identifier,
// what, and a topic. Behind the client identifier @ begins the listener. publish may
// have a QoS and ! for RETAIN at its end.
func ask(t testing.TB, l *list, question string) bool {
	t.Helper()
	f := strings.SplitN(question, " ", 3)
	user, client, _ := strings.Cut(f[0], "/")
	client, listener, _ := strings.Cut(client, "@")
	s := subjectOf(user, client, listener)
	what := strings.TrimRight(f[1], "012!")
	switch what {
	case "publish":
		rest := f[1][len(what):]
		qos := packet.QoS(0)
		if rest != "" && rest[0] != '!' {
			qos = packet.QoS(rest[0] - '0')
		}
		return l.mayPublish(s, f[2], qos, strings.HasSuffix(rest, "!")) == allowed
	case "subscribe":
		return l.maySubscribe(s, f[2]) == allowed
	case "receive":
		return l.mayReceive(s, f[2]) == allowed
	}
	t.Fatalf("%q", question)
	return false
}

// TestRules asks what rules allow and deny.
func TestRules(t *testing.T) {
	for _, tt := range []struct{ name, rules, yes, no string }{
		{
			"nothing is allowed that no rule allows", "allow user=alice publish a\n",
			"alice/c publish a", "alice/c publish b; alice/c subscribe a; alice/c receive a; bob/c publish a; /c publish a; /alice publish a",
		},
		{
			"the first rule that matches counts", "deny all a/secret\nallow all a/#\ndeny all a/public\n",
			"x/y publish a/public; x/y subscribe a/#; x/y receive a/b; /y publish a", "x/y publish a/secret; x/y receive a/secret; x/y subscribe a/secret; x/y subscribe #",
		},
		{
			"to subscribe is to receive, and receive alone narrows it", "deny receive a/secret\nallow subscribe a/#",
			"/c subscribe a/#; /c subscribe a/secret; /c receive a/b", "/c receive a/secret; /c publish a/b",
		},
		{
			"a filter must be within the rule's", "allow subscribe a/+/c\nallow subscribe b/#",
			"/c subscribe a/+/c; /c subscribe a/b/c; /c subscribe b/#; /c subscribe b; /c subscribe b/+/#; /c subscribe b/+",
			"/c subscribe a/#; /c subscribe a/+/+; /c subscribe +/b/c; /c subscribe #; /c subscribe +; /c subscribe a/+/c/d",
		},
		{
			"variables", "allow all u/%u/#\nallow all c/x-%c-y\nallow all %u/%c/z",
			"alice/phone publish u/alice; alice/phone publish u/alice/x; /phone publish c/x-phone-y; alice/phone subscribe u/alice/#; alice/phone publish alice/phone/z",
			"alice/phone publish u/bob; /phone publish u/; /phone publish u//x; alice/p/q publish c/x-p/q-y; alice/+ subscribe c/x-+-y; alice/+ subscribe c/+; alice/phone subscribe u/+/x; # publish u/#; alice/phone subscribe #",
		},
		{
			"variables that begin with $", "allow all %u/#\nallow all #", "$SYS/c publish a", "$SYS/c receive $SYS/x; $SYS/c subscribe $SYS/#; $SYS/c publish $SYS",
		},
		{
			"topics that begin with $", "allow all #\nallow all +/x\nallow user=admin all $SYS/#", "admin/c receive $SYS/x; bob/c publish a/b",
			"bob/c receive $SYS/x; bob/c subscribe $SYS/#; bob/c subscribe $SYS/x",
		},
		{
			"conditions", "allow user=alice,bob client=sensor-* listener=tls publish a\nallow user=*-admin publish b\nallow anonymous publish c\nallow client=one publish d\nallow user=* publish e",
			"alice/sensor-1@tls publish a; bob/sensor-@tls publish a; an-admin/x publish b; /x publish c; /one publish d; bob/one publish d; bob/x publish e",
			"alice/sensor-1@ws publish a; alice/other@tls publish a; carol/sensor-1@tls publish a; /sensor-1@tls publish a; admin/x publish b; bob/x publish c; bob/two publish d; /x publish e",
		},
		{
			"groups", "group ops alice bob\ngroup all alice\nallow group=ops publish a\nallow group=al* publish b\ndeny group=ops publish c\nallow publish c",
			"alice/x publish a; bob/x publish a; alice/x publish b; carol/x publish c; /x publish c", "carol/x publish a; bob/x publish b; /x publish a; alice/x publish c",
		},
		{
			"QoS and RETAIN", "allow qos=0,1 retain=no publish a\nallow qos=2 retain=yes publish a",
			"/c publish a; /c publish1 a; /c publish2! a", "/c publish2 a; /c publish! a; /c publish1! a; /c receive a",
		},
		{
			"quotes", "allow user=\"Ms X, of Y\" publish \"a b\" c\n", "Ms-X,-of-Y/c publish a", "",
		},
		{"several filters and actions, = in a filter", "allow publish,receive a b=c user=d", "/c publish a; /c receive b=c; /c publish user=d", "/c subscribe a; /c publish d"},
		{"no rules", "# nothing\n\n", "", "/c publish a; /c subscribe a; /c receive a"},
		{"order goes before what a rule names", "deny publish a\nallow user=alice publish a\nallow client=x publish a", "", "alice/x publish a"},
		{"order, the other way", "allow client=x publish a\nallow user=alice publish a\ndeny publish a", "alice/y publish a; bob/x publish a", "bob/y publish a"},
		{"white space", "  allow\tpublish   a  \r\n\t# comment\nallow publish b", "/c publish a; /c publish b", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := mustParse(t, tt.rules)
			for i, questions := range []string{tt.no, tt.yes} {
				for q := range strings.SplitSeq(questions, "; ") {
					if q == "" {
						continue
					}
					if tt.name == "quotes" {
						s := subjectOf("Ms X, of Y", "c", "")
						if l.mayPublish(s, "a b", 0, false) != allowed || l.mayPublish(s, "c", 0, false) != allowed {
							t.Error("not allowed")
						}
						continue
					}
					if got := ask(t, l, q); got != (i == 1) {
						t.Errorf("%s: %t", q, got)
					}
				}
			}
		})
	}
}

// TestCertificates asks rules with what a certificate has in it. A value that is no single
// level matches nothing, and widens no rule.
func TestCertificates(t *testing.T) {
	l := mustParse(t, "deny all o/%{o}/secret\nallow all o/%{o}/#\nallow publish x-%{cn}/%{serial}\nallow publish %{san_dns}/#\nallow publish l/%l")
	of := func(name string, organization ...string) *subject {
		c := &x509.Certificate{Subject: pkix.Name{CommonName: name, Organization: organization}, DNSNames: []string{"$SYS"}, SerialNumber: big.NewInt(255)}
		return &subject{Client: variable.Client{Listener: "tls", Certificate: variable.Of(c)}}
	}
	for _, tt := range []struct {
		s     *subject
		topic string
		want  bool
	}{
		{of("box", "plant"), "o/plant/a", true},
		{of("box", "plant", "other"), "o/other/a", false},
		{of("box", "plant"), "o/plant/secret", false},
		{of("box", "plant"), "o/other/a", false},
		{of("box", "+"), "o/+/a", false},
		{of("box", "#"), "o/#/a", false},
		{of("box", "plant/a"), "o/plant/a/b", false},
		{of("box", ""), "o//a", false},
		{of("box"), "o/%{o}/a", false},
		{of("box"), "x-box/ff", true},
		{of(""), "x-/ff", false},
		{of("box"), "$SYS/a", false},
		{of("box"), "l/tls", true},
		{&subject{}, "o//a", false},
		{&subject{Client: variable.Client{User: "plant"}}, "o/plant/a", false},
	} {
		if got := l.mayPublish(tt.s, tt.topic, 0, false) == allowed; got != tt.want {
			t.Errorf("%+v: %s: %t", tt.s.Certificate, tt.topic, got)
		}
	}
	if l.maySubscribe(of("box", "plant"), "o/+/a") == allowed || l.maySubscribe(of("box", "plant"), "o/plant/#") != allowed {
		t.Error("a subscription is wider than its rule, or too narrow")
	}
	if m := mustParse(t, "pattern a/%{o}/%u"); m.mayPublish(&subject{Client: variable.Client{User: "u", Certificate: of("box", "plant").Certificate}}, "a/plant/u", 0, false) == allowed {
		t.Error("a file of Mosquitto knows more variables than Mosquitto")
	}
	if _, err := parse([]byte("allow publish a/%{foo}")); err == nil || !strings.Contains(err.Error(), "%{cn}") {
		t.Errorf("an unknown variable: %v", err)
	}
}

// TestMountPoint asks about a client with a mount point: rules of ours see topics as it does,
// those of Mosquitto as the broker does.
func TestMountPoint(t *testing.T) {
	for rules, want := range map[string]bool{
		"allow all a/#": true, "allow all t/a/#": false,
		"topic a/#": false, "topic t/a/#": true,
	} {
		name := filepath.Join(t.TempDir(), "acl")
		if err := os.WriteFile(name, []byte(rules), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(name, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		var r Rules
		r.Use(f)
		p := Sources{Listener: &r}.For(variable.Client{ID: "c"}, nil, "t/")
		if p.Publish([]byte("a/b"), 0, false) != want || p.Receive([]byte("a/b")) != want {
			t.Errorf("%s: not %t", rules, want)
		}
	}
}

// TestMosquittoRules asks what files of Mosquitto allow. What the real one says of
// them is tested by test/interop.
func TestMosquittoRules(t *testing.T) {
	for _, tt := range []struct{ name, rules, yes, no string }{
		{"topic before the first user", "topic a\nuser alice\ntopic b", "/c publish a; /c receive a; alice/c publish b", "alice/c publish a; /c publish b; bob/c publish a; bob/c publish b"},
		{"access", "user u\ntopic read a\ntopic write b\ntopic readwrite c\ntopic d", "u/c receive a; u/c publish b; u/c publish c; u/c receive c; u/c publish d; u/c receive d", "u/c publish a; u/c receive b"},
		{"deny first", "user u\ntopic a/#\ntopic deny a/b", "u/c publish a/c", "u/c publish a/b; u/c receive a/b"},
		{"topics before patterns", "pattern deny a\nuser u\ntopic a", "u/c publish a", "v/c publish a"},
		{"patterns are for everybody", "user u\npattern p/%u\npattern c/%c\npattern read x", "v/c publish p/v; /c publish c/c; v/c receive x; u/c publish p/u", "v/c publish p/u; /c publish p/; v/c publish x"},
		{"names with wildcards", "user a+\ntopic t\npattern p/%c", "a+/c publish t; b/c publish p/c", "a+/c publish p/c; b/+ publish p/+; b/# receive p/#"},
		{"without a pattern they are nothing special", "user a+\ntopic t", "a+/# publish t", ""},
		{"values with slashes", "pattern p/%c/x", "/a/b publish p/a/b/x", ""},
		{"all may subscribe", "user u\ntopic a", "u/c subscribe #; v/c subscribe b", "v/c receive b"},
		{"a variable in a topic is none", "user u\ntopic a/%u", "u/c publish a/%u", "u/c publish a/u"},
		{"a star is nothing special", "user *\ntopic a", "*/c publish a", "u/c publish a"},
		{"blanks", "user  u \ntopic\tread\ta\ntopic  write   b c", "u/c receive a; u/c publish b c", "u/c publish a"},
		{"$", "user u\ntopic #\ntopic read $SYS/#", "u/c receive $SYS/a; u/c publish a", "u/c publish $SYS/a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := mustParse(t, tt.rules)
			for i, questions := range []string{tt.no, tt.yes} {
				for q := range strings.SplitSeq(questions, "; ") {
					if q != "" && ask(t, l, q) != (i == 1) {
						t.Errorf("%s: %t", q, i == 0)
					}
				}
			}
		})
	}
	if l := mustParse(t, "pattern read $SYS/#\n"); len(l.warnings) != 1 || !strings.HasPrefix(l.warnings[0], "line 1: ") {
		t.Errorf("warnings: %q", l.warnings)
	}
}

// TestFaults tells all lines that are wrong.
func TestFaults(t *testing.T) {
	for line, want := range map[string]string{
		"allows publish a":                 "begins with one of",
		"allow":                            "write allow|deny",
		"allow publish":                    "write allow|deny",
		"allow user=alice":                 "write allow|deny",
		"allow write a":                    "none of publish",
		"allow publish, a":                 "none of publish",
		"allow publish a/#/b":              "not a topic filter",
		"allow publish a+":                 "not a topic filter",
		`allow publish ""`:                 "not a topic filter",
		"allow subscribe $share/g/a":       "shared",
		"allow user= publish a":            "empty name",
		"allow user=a user=b publish c":    "twice",
		"allow usr=a publish c":            "it can be user=",
		"allow anonymous user=a publish c": "anonymous has no user name",
		"allow qos=3 publish c":            "write 0, 1 or 2",
		"allow qos=1 subscribe c":          "for publish",
		"allow retain=true publish c":      "write yes or no",
		`allow user="a publish c`:          "quote is open",
		`allow user="a"b publish c`:        "a blank behind",
		"group g":                          "write group",
		"group g a=b":                      "in quotes",
		"topic a":                          "does not go together",
		"user a":                           "does not go together",
		strings.Repeat("x", 10_000) + " y": "begins with one of",
		"allow user=" + strings.Repeat(",", 9) + " publish a": "empty name",
	} {
		_, err := parse([]byte("allow publish a\n\n" + line + "\n"))
		if err == nil || !strings.HasPrefix(err.Error(), "line 3: ") || !strings.Contains(err.Error(), want) || len(err.Error()) > 400 {
			t.Errorf("%s: %v, want %s", shorten(line), err, want)
		}
	}
	for line, want := range map[string]string{
		"user":            "no name",
		"topic":           "no filter",
		"topic rd a":      "read, write, readwrite or deny",
		"topic read a#":   "not a topic filter",
		"pattern deny ":   "",
		"allow publish a": "does not go together",
	} {
		_, err := parse([]byte("user a\n" + line + "\n"))
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
	if _, err := parse([]byte(strings.Repeat("bad\n", 1000))); err == nil || strings.Count(err.Error(), "\n") != maxFaults || !strings.Contains(err.Error(), "990 more") {
		t.Errorf("1000 faults: %v", err)
	}
	if _, err := parse([]byte("allow publish \xff")); err == nil {
		t.Error("a file that is not UTF-8 is taken")
	}
}

// TestTreeAgrees asks random rules random questions, and compares the answers with
// those of a search from the first rule to the last.
func TestTreeAgrees(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	name := func(filter bool) string {
		levels := []string{pick("a", "b", "", "$x", "u1", "c1")}
		for random.IntN(3) > 0 {
			levels = append(levels, pick("a", "b", "", "u1", "c1"))
		}
		if filter {
			for i := range levels {
				if random.IntN(4) == 0 {
					levels[i] = pick("+", "%u", "%c", "x%u", "%c")
				}
			}
			if random.IntN(3) == 0 {
				levels = append(levels, "#")
			}
		}
		return strings.Join(levels, "/")
	}
	type line struct {
		allow        bool
		action       action
		user, client string
		filter       string
	}
	for range 2000 {
		var lines []line
		var text strings.Builder
		for range 1 + random.IntN(12) {
			r := line{allow: random.IntN(2) == 0, filter: name(true), user: pick("", "", "u1", "u2"), client: pick("", "", "c1", "c2")}
			what := pick("publish", "subscribe", "receive", "all")
			r.action = map[string]action{"publish": publish, "subscribe": subscribe | receive, "receive": receive, "all": publish | subscribe | receive}[what]
			if topic.ValidFilter(r.filter, topic.Limits{}) != nil {
				continue
			}
			fmt.Fprintf(&text, "%s ", map[bool]string{true: "allow", false: "deny"}[r.allow])
			if r.user != "" {
				fmt.Fprintf(&text, "user=%s ", r.user)
			}
			if r.client != "" {
				fmt.Fprintf(&text, "client=%s ", r.client)
			}
			fmt.Fprintf(&text, "%s %s\n", what, r.filter)
			lines = append(lines, r)
		}
		l := mustParse(t, text.String())
		for range 50 {
			s := subjectOf(pick("", "u1", "u2"), pick("c1", "c2"), "")
			asked, about := publish, name(false)
			if about == "" {
				continue
			}
			if random.IntN(2) == 0 {
				asked = receive
			}
			want := false
			for _, r := range lines {
				filter := strings.ReplaceAll(r.filter, "%c", s.ID)
				if r.action&asked == 0 || r.user != "" && r.user != s.User || r.client != "" && r.client != s.ID || strings.Contains(filter, "%u") && s.User == "" {
					continue
				}
				if topic.Match(strings.ReplaceAll(filter, "%u", s.User), about) {
					want = r.allow
					break
				}
			}
			got := l.mayReceive(s, about) == allowed
			if asked == publish {
				got = l.mayPublish(s, about, 0, false) == allowed
			}
			if got != want {
				t.Fatalf("%+v, action %d of %q: %t, want %t, with\n%s", s, asked, about, got, want, text.String())
			}
		}
	}
}

// TestReload puts a new file in force, and keeps the old one if the new one is wrong.
func TestReload(t *testing.T) {
	name := filepath.Join(t.TempDir(), "acl")
	write := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(name, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("a file that is not there: %v", err)
	}
	write("allow publish a\n")
	f, err := Open(name, slog.New(slog.DiscardHandler))
	if err != nil || f.Rules() != 1 {
		t.Fatalf("%d rules, %v", f.Rules(), err)
	}
	p := Sources{Listener: rulesOf(f)}.For(variable.Client{User: "alice", ID: "c", Listener: "l"}, nil, "")
	check := func(a, b bool) {
		t.Helper()
		if p.Publish([]byte("a"), 0, false) != a || p.Subscribe("b") != b || p.Receive([]byte("b")) != b {
			t.Error("a wrong answer")
		}
	}
	check(true, false)
	write("allow subscribe b\nallow user=x publish c")
	check(true, false)
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	check(false, true)
	write("allow publish a\nalow publish b\n")
	if err := f.Reload(); err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), name) {
		t.Errorf("a wrong file: %v", err)
	}
	check(false, true)
	if q := (Sources{Listener: rulesOf(f)}).For(variable.Client{User: "alice", ID: "c", Listener: "l"}, []string{"g"}, ""); q.Publish([]byte("a"), 0, false) {
		t.Error("a wrong answer")
	}
	other := filepath.Join(t.TempDir(), "acl")
	if err := os.WriteFile(other, []byte("allow publish a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	next, err := Open(other, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	rules := rulesOf(f)
	p = Sources{Listener: rules}.For(variable.Client{User: "alice", ID: "c", Listener: "l"}, nil, "")
	check(false, true)
	rules.Use(next)
	check(true, false)
	rules.Use(nil)
	check(true, true)

	write("allow group=g publish a\n")
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if q := (Sources{Listener: rulesOf(f)}).For(variable.Client{User: "alice", ID: "c", Listener: "l"}, []string{"g"}, ""); !q.Publish([]byte("a"), 0, false) {
		t.Error("the group that a link has told does not count")
	}
}

// FuzzParse proves that no file panics, whoever asks about what.
func FuzzParse(f *testing.F) {
	f.Add([]byte("allow user=alice,bob group=g client=c* listener=l qos=0,1 retain=no publish,subscribe a/%u/# \"b c\"\ndeny anonymous all #\ngroup g alice\n"), "alice", "c", "a/alice/b")
	f.Add([]byte("topic read a\nuser alice\ntopic deny b/+\npattern readwrite %c/%u/#\n# comment"), "alice", "c/d", "c/d/alice")
	f.Add([]byte("allow publish x%u%c%/%uy/+\n"), "a", "b", "xab%/ay/$")
	f.Fuzz(func(t *testing.T, text []byte, user, client, name string) {
		l, err := parse(text)
		if err != nil {
			return
		}
		s := subjectOf(user, client, "l")
		l.mayPublish(s, name, 1, true)
		l.mayReceive(s, name)
		l.maySubscribe(s, name)
	})
}

// BenchmarkDecide asks 1,000 rules: of users, or for everybody.
func BenchmarkDecide(b *testing.B) {
	for _, kind := range []string{"allow user=u%d all home/u%d/#\n", "allow all home/t%d/x%d/#\n", "allow all home/%%u/t%d/%d/#\n"} {
		var text strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&text, kind, i, i)
		}
		l := mustParse(b, text.String())
		s := subjectOf("u500", "c", "")
		for _, name := range []string{"home/u500/lamp", "home/t500/x500/y", "home/u500/t999/999/a"} {
			b.Run(strings.Fields(kind)[1]+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					l.mayPublish(s, name, 0, false)
				}
			})
		}
	}
}

// rulesOf are the rules of a file.
func rulesOf(f *File) *Rules {
	r := &Rules{}
	r.Use(f)
	return r
}
