package conf

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// Line is a line of a file that sets an option.
type Line struct {
	File   string
	Number int // from 1
	Option string
	Value  string // the rest of the line, without blanks around it
}

// Place is where the line stands, such as "mosquitto.conf:12".
func (l *Line) Place() string { return fmt.Sprintf("%s:%d", l.File, l.Number) }

// String is the line as people may see it: without passwords.
func (l *Line) String() string {
	switch {
	case l.Value == "":
		return printable(l.Option)
	case l.isSecret():
		return printable(l.Option) + " (not shown)"
	}
	return printable(l.Option + " " + l.Value)
}

// isSecret reports whether the value may be a password. Nobody knows what the
// options of a plug-in are.
func (l *Line) isSecret() bool {
	return strings.HasSuffix(l.Option, "password") || strings.HasPrefix(l.Option, "auth_opt_") ||
		strings.HasPrefix(l.Option, "plugin_opt_") || l.Option == "bridge_psk" || l.Option == "tls_engine_kpass_sha1"
}

// printable is a text without characters that end or move a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// first is the first word of the value: all that Mosquitto reads of a number or
// a truth value.
func (l *Line) first() string {
	word, _, _ := strings.Cut(l.Value, " ")
	return word
}

// source is a file that has been read.
type source struct {
	name string
	text []byte
}

// Read reads a file and those that its include_dir options name. Their paths
// are relative to the working directory.
func Read(name string) (*Files, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return read(source{name, text}, readDir), nil
}

// Files are the lines of a file and of those that it includes.
type Files struct {
	Name  string // of the file that was asked for
	parts []part // in the order in which they count
	found []Finding
}

// part is a run of lines of one file. Options that belong to a listener or a
// bridge find theirs in the file where they stand: an included file begins anew,
// and the one that includes it goes on behind it as if there were none.
type part struct {
	file  string
	main  bool
	lines []Line
}

// read reads a file. include reads a directory.
func read(main source, include func(dir string) ([]source, error)) *Files {
	f := &Files{Name: main.name}
	p := part{file: main.name, main: true}
	for _, l := range lines(main) {
		if l.Option != "include_dir" {
			p.lines = append(p.lines, l)
			continue
		}
		if l.Value == "" {
			f.found = append(f.found, Finding{Line: l, Kind: Fault, Text: "the value is missing"})
			continue
		}
		more, err := include(l.Value)
		if err != nil {
			f.found = append(f.found, Finding{Line: l, Kind: Fault, Text: err.Error()})
			continue
		}
		f.parts, p.lines = append(f.parts, p), nil
		for _, s := range more {
			f.parts = append(f.parts, part{file: s.name, lines: lines(s)})
		}
	}
	f.parts = append(f.parts, p)
	return f
}

// lines returns the lines that set something. "#" begins a comment only as the
// first character of a line, blanks around a line don't count, and the first
// blank in it, never a tab, ends the name of the option.
func lines(s source) (all []Line) {
	n := 0
	for text := range strings.Lines(string(s.text)) {
		n++
		if text[0] == '#' {
			continue
		}
		option, value, _ := strings.Cut(strings.Trim(text, " \t\r\n\v\f"), " ")
		if option == "" {
			continue
		}
		all = append(all, Line{s.name, n, option, strings.Trim(value, " \t\r\n\v\f")})
	}
	return all
}

// readDir reads the files of a directory whose names end in .conf, in
// Mosquitto's order: capitals before the small letter of the same name, and not
// before all small letters.
func readDir(dir string) (all []source, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if len(e.Name()) > len(".conf") && strings.HasSuffix(e.Name(), ".conf") {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, byName)
	for _, name := range names {
		name = path.Join(dir, name)
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, source{name, text})
	}
	return all, nil
}

func byName(a, b string) int {
	upper := func(c byte) byte {
		if c >= 'a' && c <= 'z' {
			return c - 'a' + 'A'
		}
		return c
	}
	for i := range min(len(a), len(b)) {
		if c := cmp.Or(cmp.Compare(upper(a[i]), upper(b[i])), cmp.Compare(a[i], b[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}
