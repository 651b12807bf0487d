package shell

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestComplete shows with | where the cursor is, before and after Tab.
func TestComplete(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"one.json", "two words.bin", ".hidden"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("data", 0o700); err != nil {
		t.Fatal(err)
	}
	s, _ := newTestShell(t, &world{})
	must(t, s, "connect alice", "connect 'bob b'", "sub room/#", "pub room/kitchen x", "pub room/kitten x", "pub 'a b/c' x", "packet save reading x", "set qos 1")
	for _, tt := range []struct{ before, after, show string }{
		{"conn|", "connect |", ""},
		{"|", "|", "connect disconnect echo exit expect help history packet pub quit set status sub unset unsub use wait"},
		{"st|", "status |", ""},
		{"us|", "use |", ""},
		{"un|", "uns|", ""},
		{"uns|", "uns|", "unset unsub"},
		{"!disc|", "!disc|", ""},
		{"use |", "use |", "alice bob b"},
		{"use b|", "use 'bob b' |", ""},
		{"use 'b|", "use 'bob b' |", ""},
		{"use al|x", "use alice |x", ""},
		{"pub ro|", "pub room/|", ""},
		{"pub room/k|", "pub room/kit|", ""},
		{"pub room/kit|", "pub room/kit|", "room/kitchen room/kitten"},
		{"pub room/kitc| text", "pub room/kitchen| text", ""},
		{"pub 'roo|", "pub 'room/|", ""},
		{"pub a|", "pub 'a b/c' |", ""},
		{"pub x re|", "pub x reading |", ""},
		{"pub x @o|", "pub x @one.json |", ""},
		{"pub x @tw|", "pub x '@two words.bin' |", ""},
		{"pub x @d|", "pub x @data/|", ""},
		{"pub x @|", "pub x @|", "@data/ @one.json @two words.bin"},
		{"pub x @.h|", "pub x @.hidden |", ""},
		{"pub x y z|", "pub x y z|", ""},
		{"pub --reta|", "pub --retain |", ""},
		{"pub --qos |", "pub --qos |", "0 1 2"},
		{"pub -q |", "pub -q |", "0 1 2"},
		{"pub --qos 1 roo|", "pub --qos 1 room/|", ""},
		{"pub --client al|", "pub --client alice |", ""},
		{"pub --content-type |", "pub --content-type |", ""},
		{"connect --cafile on|", "connect --cafile one.json |", ""},
		{"sub --retain-handling n|", "sub --retain-handling ne|", ""},
		{"sub a b room/kitc|", "sub a b room/kitchen |", ""},
		{"unsub |", "unsub room/# |", ""},
		{"packet sh|", "packet show |", ""},
		{"packet show r|", "packet show reading |", ""},
		{"packet save x @on|", "packet save x @one.json |", ""},
		{"set pay|", "set payload |", ""},
		{"set payload b|", "set payload base64 |", ""},
		{"set qos |", "set qos |", "0 1 2"},
		{"unset |", "unset qos |", ""},
		{"help pa|", "help packet |", ""},
		{"# comm|", "# comm|", ""},
		{"nonsense x|", "nonsense x|", ""},
		{`pub "\q|`, `pub "\q|`, ""},
	} {
		pos := strings.Index(tt.before, "|")
		line, newPos, show := s.complete(strings.Replace(tt.before, "|", "", 1), pos)
		if got := line[:newPos] + "|" + line[newPos:]; got != tt.after || strings.Join(show, " ") != tt.show {
			t.Errorf("%s becomes %s, shows %q\nwant %s, %q", tt.before, got, show, tt.after, tt.show)
		}
	}
}

func TestColumns(t *testing.T) {
	if got, want := columns([]string{"a", "bcd", "é", "f"}, 16), "a    bcd  é\nf\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := columns([]string{"longer", "than"}, 3), "longer\nthan\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ line, words, given, err string }{
		{"pub a b", "a b", "", ""},
		{"pub a -q 1 b --retain", "a b", "qos=1 retain=true", ""},
		{"pub a b -q1 -r --retain=false", "a b", "qos=1 retain=true retain=false", ""},
		{"pub a b -q=1 --qos=2", "a b", "qos=1 qos=2", ""},
		{"pub a b -D k=v --user-property=k=w", "a b", "user-property=k=v user-property=k=w", ""},
		{"pub a -- -q", "a -q", "", ""},
		{"pub a '-q'", "a -q", "", ""},
		{"pub a -", "a -", "", ""},
		{"pub a -5", "a -5", "", ""},
		{"pub a -.5", "a -.5", "", ""},
		{"pub a b --content-type=", "a b", "content-type=", ""},
		{"pub a b --content-type --retain", "a b", "content-type=--retain", ""},
		{"pub", "", "", "pub: something is missing: pub TOPIC PACKET [options]"},
		{"pub a b c", "", "", "pub: c is too much: pub TOPIC PACKET [options] (quote a text that has spaces)"},
		{"pub a b --qos", "", "", "pub: --qos needs a value: -q, --qos 0|1|2"},
		{"pub a b --loud", "", "", "pub: unknown option --loud; 'help pub' lists them, and quotes make a text of it"},
		{"pub a b -z", "", "", "pub: unknown option -z; 'help pub' lists them, and quotes make a text of it"},
		{"pub a b --=x", "", "", "pub: unknown option --; 'help pub' lists them, and quotes make a text of it"},
		{"publish a b", "", "", "publish: unknown command; 'help' lists them"},
	} {
		words, err := split(tt.line)
		if err != nil {
			t.Fatal(err)
		}
		in, err := parse(commands(), words)
		if err != nil || tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s: %v, want %s", tt.line, err, tt.err)
			}
			continue
		}
		var texts, options []string
		for _, w := range in.words {
			texts = append(texts, w.text)
		}
		for _, g := range in.given {
			options = append(options, g.option.name+"="+g.value)
		}
		if strings.Join(texts, " ") != tt.words || strings.Join(options, " ") != tt.given {
			t.Errorf("%s: %q %q", tt.line, texts, options)
		}
	}
}

// TestTable proves of each command that help, completion and parsing have what
// they need.
func TestTable(t *testing.T) {
	var names []string
	for _, c := range commands() {
		if slices.Contains(names, c.name) {
			t.Errorf("two commands %s", c.name)
		}
		names = append(names, c.name)
		if c.short == "" || strings.HasSuffix(c.short, ".") || c.run == nil || len(c.examples) == 0 {
			t.Errorf("%s: incomplete", c.name)
		}
		seen := map[string]bool{"-": true}
		for _, o := range c.options {
			short := "-" + strings.Trim(string(o.short), "\x00")
			if seen[o.name] || short != "-" && seen[short] {
				t.Errorf("%s: two options %s or %s", c.name, o.name, short)
			}
			seen[o.name], seen[short] = true, true
			if o.help == "" || o.set == nil {
				t.Errorf("%s --%s: incomplete", c.name, o.name)
			}
			if o.isSwitch() && (given{&o, "perhaps"}).apply(&request{}) == nil {
				t.Errorf("%s --%s: takes anything", c.name, o.name)
			}
		}
		for _, example := range c.examples {
			words, err := split(example)
			if err == nil {
				_, err = parse(commands(), words)
			}
			if err != nil || words[0].text != c.name && c.name != "packet" {
				t.Errorf("%s: example %s: %v", c.name, example, err)
			}
		}
	}
}

// TestReference proves that the reference page is that of these commands.
func TestReference(t *testing.T) {
	const page = "../../docs/reference/shell.md"
	if *update {
		if err := os.WriteFile(page, []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != Reference() {
		t.Errorf("%s is out of date: go test ./internal/shell -update", page)
	}
}
