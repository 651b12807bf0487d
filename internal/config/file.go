package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// entry is one key of a file with its value.
type entry struct {
	key   string // with its sections, such as "limits.max_connections"
	line  int
	kind  unstable.Kind
	texts []string // one, unless kind is Array
	odd   bool     // an array with something else than strings in it
}

// reader walks a TOML document. The library has a decoder as well; it isn't
// used because it doesn't tell the lines of the keys that it accepted.
type reader struct {
	parser  unstable.Parser
	name    string
	known   []string // keys
	entries []entry
	faults  Faults
	seen    map[string]int // keys and table headers -> line
}

// readFile returns the entries of a document whose keys are in known, and the
// faults of all others. After a fault of syntax it reads no further.
func readFile(name string, doc []byte, known []string) ([]entry, Faults) {
	r := &reader{name: name, known: known, seen: map[string]int{}}
	r.parser.Reset(doc)
	section, skip := "", false
	for r.parser.NextExpression() {
		switch n := r.parser.Expression(); n.Kind {
		case unstable.Table:
			section, skip = r.header(n)
		case unstable.ArrayTable:
			section, _ = r.keyOf(n)
			skip = true
			r.fault(r.lineOf(n.Child()), section, "a table in double brackets has no meaning here")
		case unstable.KeyValue:
			if !skip {
				r.keyValue(section, n)
			}
		}
	}
	if err := r.parser.Error(); err != nil {
		line := 0
		if pe, ok := errors.AsType[*unstable.ParserError](err); ok {
			line = r.parser.Shape(r.parser.Range(pe.Highlight)).Start.Line
		}
		r.fault(line, "", "%v", err)
	}
	return r.entries, r.faults
}

func (r *reader) fault(line int, key, format string, args ...any) {
	r.faults.add(Origin{Kind: FromFile, Name: r.name, Line: line}, key, format, args...)
}

func (r *reader) lineOf(n *unstable.Node) int { return r.parser.Shape(n.Raw).Start.Line }

// keyOf returns the key of a table or a key with its value, and its line.
func (r *reader) keyOf(n *unstable.Node) (key string, line int) {
	var parts []string
	for it := n.Key(); it.Next(); {
		if line == 0 {
			line = r.lineOf(it.Node())
		}
		parts = append(parts, string(it.Node().Data))
	}
	return strings.Join(parts, "."), line
}

// header begins the section of a table; skip: its keys are not worth
// reading.
func (r *reader) header(n *unstable.Node) (section string, skip bool) {
	section, line := r.keyOf(n)
	if !r.isSection(section) {
		r.fault(line, "["+section+"]", "unknown section%s", didYouMean(section, r.sections()))
		return section, true
	}
	r.once("["+section+"]", line)
	return section, false
}

// once reports whether the key appears for the first time.
func (r *reader) once(key string, line int) bool {
	if before, again := r.seen[key]; again {
		r.fault(line, key, "already set in line %d", before)
		return false
	}
	r.seen[key] = line
	return true
}

func (r *reader) isSection(name string) bool {
	return slices.ContainsFunc(r.known, func(k string) bool { return strings.HasPrefix(k, name+".") })
}

func (r *reader) sections() (names []string) {
	for _, k := range r.known {
		if i := strings.LastIndexByte(k, '.'); i > 0 && !slices.Contains(names, k[:i]) {
			names = append(names, k[:i])
		}
	}
	return names
}

func (r *reader) keyValue(section string, n *unstable.Node) {
	key, line := r.keyOf(n)
	if section != "" {
		key = section + "." + key
	}
	value := n.Value()
	switch known := slices.Contains(r.known, key); {
	case value.Kind == unstable.InlineTable && r.isSection(key):
		for it := value.Children(); it.Next(); {
			r.keyValue(key, it.Node())
		}
	case !known && r.isSection(key):
		r.fault(line, key, "this is a section, not a setting")
	case !known:
		r.fault(line, key, "unknown key%s", didYouMean(key, r.known))
	case r.once(key, line):
		r.entries = append(r.entries, newEntry(key, line, value))
	}
}

func newEntry(key string, line int, value *unstable.Node) entry {
	e := entry{key: key, line: line, kind: value.Kind}
	if value.Kind != unstable.Array {
		e.texts = []string{string(value.Data)}
		return e
	}
	for it := value.Children(); it.Next(); {
		if it.Node().Kind == unstable.Comment {
			continue
		}
		e.odd = e.odd || it.Node().Kind != unstable.String
		e.texts = append(e.texts, string(it.Node().Data))
	}
	return e
}
