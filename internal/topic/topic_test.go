package topic

import (
	"errors"
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	for _, c := range []struct{ name, in, clause, clause311 string }{
		{"v5/MQTT-4.7.0-1/plus", "a/+/b", "v5/MQTT-4.7.0-1", "v311/MQTT-4.7.1-1"},
		{"v5/MQTT-4.7.0-1/hash inside a level", "a#b", "v5/MQTT-4.7.0-1", "v311/MQTT-4.7.1-1"},
		{"v5/MQTT-4.7.3-1/empty", "", "v5/MQTT-4.7.3-1", "v311/MQTT-4.7.3-1"},
		{"v5/MQTT-4.7.3-2/null", "a\x00", "v5/MQTT-4.7.3-2", "v311/MQTT-4.7.3-2"},
		{"v5/MQTT-4.7.3-3/too long", strings.Repeat("a", 65536), "v5/MQTT-4.7.3-3", "v311/MQTT-4.7.3-3"},
		{"v5/MQTT-1.5.4-1/half a rune", "a\xc3", "v5/MQTT-1.5.4-1", "v311/MQTT-1.5.3-1"},
		{"v5/MQTT-1.5.4-1/surrogate", "\xed\xa0\x80", "v5/MQTT-1.5.4-1", "v311/MQTT-1.5.3-1"},
	} {
		t.Run(c.name, func(t *testing.T) { wantFault(t, ValidName([]byte(c.in), Limits{}), c.clause, c.clause311) })
	}
	for _, ok := range []string{"a", "/", "//", " ", "a b/ÅÄÖ", "$SYS/x", "\ufeff", strings.Repeat("a", 65535), strings.Repeat("/", 127)} {
		if err := ValidName([]byte(ok), Limits{}); err != nil {
			t.Errorf("ValidName(%.20q) = %v", ok, err)
		}
	}
}

func TestValidFilter(t *testing.T) {
	for _, c := range []struct{ name, in, clause, clause311 string }{
		{"v5/MQTT-4.7.1-1/hash not last", "a/#/b", "v5/MQTT-4.7.1-1", "v311/MQTT-4.7.1-2"},
		{"v5/MQTT-4.7.1-1/hash after text", "a#", "v5/MQTT-4.7.1-1", "v311/MQTT-4.7.1-2"},
		{"v5/MQTT-4.7.1-1/two hashes", "##", "v5/MQTT-4.7.1-1", "v311/MQTT-4.7.1-2"},
		{"v5/MQTT-4.7.1-1/hash before slash", "#/", "v5/MQTT-4.7.1-1", "v311/MQTT-4.7.1-2"},
		{"v5/MQTT-4.7.1-2/plus after text", "a+", "v5/MQTT-4.7.1-2", "v311/MQTT-4.7.1-3"},
		{"v5/MQTT-4.7.1-2/plus before text", "a/+b", "v5/MQTT-4.7.1-2", "v311/MQTT-4.7.1-3"},
		{"v5/MQTT-4.7.1-2/plus and hash", "+#", "v5/MQTT-4.7.1-2", "v311/MQTT-4.7.1-3"},
		{"v5/MQTT-4.7.3-1/empty", "", "v5/MQTT-4.7.3-1", "v311/MQTT-4.7.3-1"},
		{"v5/MQTT-4.7.3-2/null", "\x00/a", "v5/MQTT-4.7.3-2", "v311/MQTT-4.7.3-2"},
		{"v5/MQTT-4.7.3-3/too long", strings.Repeat("a", 65536), "v5/MQTT-4.7.3-3", "v311/MQTT-4.7.3-3"},
		{"v5/MQTT-1.5.4-1/not UTF-8", "a/\xff", "v5/MQTT-1.5.4-1", "v311/MQTT-1.5.3-1"},
	} {
		t.Run(c.name, func(t *testing.T) { wantFault(t, ValidFilter(c.in, Limits{}), c.clause, c.clause311) })
	}
	for _, ok := range []string{"#", "+", "/#", "+/#", "+/+", "/+", "+/", "a/+/b/#", "/", "$SYS/#", "ÅÄÖ/#", strings.Repeat("/", 127)} {
		if err := ValidFilter(ok, Limits{}); err != nil {
			t.Errorf("ValidFilter(%.20q) = %v", ok, err)
		}
	}
}

func TestLimits(t *testing.T) {
	lim := Limits{Levels: 2, Bytes: 5}
	for _, long := range []string{strings.Repeat("/", 65535), strings.Repeat("a", 65535)} { // no limits but the protocol's
		if err := ValidFilter(long, Limits{}); err != nil {
			t.Error(err)
		}
		if err := ValidName([]byte(long), Limits{}); err != nil {
			t.Error(err)
		}
	}
	for in, ok := range map[string]bool{"a/b": true, "abcde": true, "a/b/c": false, "abcdef": false} {
		if err := ValidName([]byte(in), lim); (err == nil) != ok {
			t.Errorf("ValidName(%q) = %v", in, err)
		}
		if err := ValidFilter(in, lim); (err == nil) != ok {
			t.Errorf("ValidFilter(%q) = %v", in, err)
		}
	}
}

func TestRefusalOfManyLevelsAllocatesTheErrorOnly(t *testing.T) {
	long := strings.Repeat("/", 65534)
	if n := testing.AllocsPerRun(10, func() { _ = ValidFilter(long, Limits{Levels: 200}) }); n > 5 {
		t.Errorf("%v allocations", n)
	}
	name := []byte("a/b/c")
	if n := testing.AllocsPerRun(10, func() { _ = ValidName(name, Limits{}) }); n != 0 {
		t.Errorf("%v allocations for a valid name", n)
	}
}

func TestParseShared(t *testing.T) {
	for _, c := range []struct{ name, in, clause string }{
		{"v5/MQTT-4.8.2-1/empty group", "$share//a", "v5/MQTT-4.8.2-1"},
		{"v5/MQTT-4.8.2-1/nothing follows", "$share/", "v5/MQTT-4.8.2-1"},
		{"v5/MQTT-4.8.2-2/plus in group", "$share/+/a", "v5/MQTT-4.8.2-2"},
		{"v5/MQTT-4.8.2-2/hash in group", "$share/g#/a", "v5/MQTT-4.8.2-2"},
		{"v5/MQTT-4.8.2-2/no slash", "$share/g", "v5/MQTT-4.8.2-2"},
		{"v5/MQTT-4.8.2-2/no filter", "$share/g/", "v5/MQTT-4.8.2-2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, shared, err := ParseShared(c.in)
			if !shared {
				t.Error("not taken for a shared subscription")
			}
			wantFault(t, err, c.clause, "")
		})
	}
	for _, c := range []struct {
		in, group, inner string
		shared           bool
	}{
		{"$share/g/a/b", "g", "a/b", true},
		{"$share/g//", "g", "/", true},
		{"$share/g/#", "g", "#", true},
		{"$share/g/$share/h/a", "g", "$share/h/a", true},
		{"$share", "", "$share", false},
		{"$shared/g/a", "", "$shared/g/a", false},
		{"a/b", "", "a/b", false},
	} {
		group, inner, shared, err := ParseShared(c.in)
		if group != c.group || inner != c.inner || shared != c.shared || err != nil {
			t.Errorf("ParseShared(%q) = %q, %q, %v, %v", c.in, group, inner, shared, err)
		}
	}
}

func wantFault(t *testing.T, err error, clause, clause311 string) {
	t.Helper()
	var fault *Error
	if !errors.As(err, &fault) {
		t.Fatalf("error %v, want an *Error", err)
	}
	if fault.Clause != clause || fault.Clause311 != clause311 || fault.Detail == "" {
		t.Errorf("got %+v, want clauses %q and %q", *fault, clause, clause311)
	}
	if !strings.Contains(fault.Error(), fault.Clause) {
		t.Errorf("text %q does not name the clause", fault)
	}
}

// matches are the examples of section 4.7 and the corners between them.
var matches = []struct {
	name, filter, topic string
	want                bool
}{
	{"4.7.1.2/parent", "sport/tennis/player1/#", "sport/tennis/player1", true},
	{"4.7.1.2/child", "sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
	{"4.7.1.2/deep", "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
	{"4.7.1.2/sport", "sport/#", "sport", true},
	{"4.7.1.2/prefix of a level", "sport/#", "sports", false},
	{"4.7.1.2/all", "#", "a/b", true},
	{"4.7.1.2/slash hash", "/#", "/", true},
	{"4.7.1.2/slash hash, no slash", "/#", "a", false},
	{"4.7.1.3/one level", "sport/tennis/+", "sport/tennis/player1", true},
	{"4.7.1.3/two levels", "sport/tennis/+", "sport/tennis/player1/ranking", false},
	{"4.7.1.3/no level", "sport/+", "sport", false},
	{"4.7.1.3/empty level", "sport/+", "sport/", true},
	{"4.7.1.3/finance", "+/+", "/finance", true},
	{"4.7.1.3/slash plus", "/+", "/finance", true},
	{"4.7.1.3/plus", "+", "/finance", false},
	{"4.7.1.3/plus then hash, parent", "+/#", "a", true},
	{"v5/MQTT-4.7.2-1/hash", "#", "$SYS/x", false},
	{"v5/MQTT-4.7.2-1/plus", "+/monitor/Clients", "$SYS/monitor/Clients", false},
	{"v5/MQTT-4.7.2-1/plus hash", "+/#", "$SYS", false},
	{"v5/MQTT-4.7.2-1/named", "$SYS/#", "$SYS/x", true},
	{"v5/MQTT-4.7.2-1/plus below", "$SYS/monitor/+", "$SYS/monitor/Clients", true},
	{"v5/MQTT-4.7.2-1/dollar further down", "+/#", "a/$b", true},
	{"v5/MQTT-4.7.3-4/case", "ACCOUNTS", "Accounts", false},
	{"v5/MQTT-4.7.3-4/no normalization", "\u00e9", "e\u0301", false},
	{"4.7.3/leading slash", "/finance", "finance", false},
	{"4.7.3/trailing slash", "a/", "a", false},
	{"long levels", "0123456789abcdef/0123456789abcdef", "0123456789abcdef/0123456789abcdef", true},
	{"long levels that differ", "0123456789abcdef", "0123456789abcdeg", false},
	{"15 and 16 bytes", "0123456789abcde", "0123456789abcdef", false},
}

func TestMatch(t *testing.T) {
	for _, c := range matches {
		t.Run(c.name, func(t *testing.T) {
			if got := Match(c.filter, c.topic); got != c.want {
				t.Errorf("Match(%q, %q) = %v", c.filter, c.topic, got)
			}
			var tree Tree[int]
			tree.Add(c.filter, 1)
			got := 0
			tree.Match([]byte(c.topic), func(v int) { got += v })
			if (got == 1) != c.want || got > 1 {
				t.Errorf("Tree with %q: %d matches of %q", c.filter, got, c.topic)
			}
			var names Names[int]
			names.Set([]byte(c.topic), 1)
			got = 0
			names.Step(NewCursor(c.filter), 1000, func(v int) bool {
				got += v
				return true
			})
			if (got == 1) != c.want || got > 1 {
				t.Errorf("Names with %q: %d found by %q", c.topic, got, c.filter)
			}
		})
	}
}
