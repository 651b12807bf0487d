package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"midge/internal/settings"
)

// entry is one key of a file with its value.
type entry struct {
	listener int    // 1 for the first [[listener]], and so on; 0 outside of them
	key      string // with its sections, such as "limits.max_connections"
	line     int
	kind     unstable.Kind
	texts    []string // one, unless kind is Array
	odd      bool     // an array with something else than strings in it
}

// place is where keys are read.
type place struct {
	listener int // as in an entry
	section  string
}

// reader walks a TOML document. The library has a decoder as well; it isn't
// used because it doesn't tell the lines of the keys that it accepted.
type reader struct {
	parser    unstable.Parser
	origin    func(line int) Origin
	known     []string // keys
	inside    []string // keys of listeners
	listeners []int    // the lines of [[listener]]
	entries   []entry
	faults    Faults
	seen      map[place]int // keys and, in brackets, table headers -> line
}

// readFile returns the entries of a document, the lines where its listeners
// begin, and the faults of keys that are not known. After a fault of syntax it reads no
// further.
func readFile(origin func(line int) Origin, doc []byte) ([]entry, []int, Faults) {
	r := &reader{origin: origin, known: keys(), inside: listenerKeys(), seen: map[place]int{}}
	r.parser.Reset(doc)
	var at place
	skip := false
	for r.parser.NextExpression() {
		switch n := r.parser.Expression(); n.Kind {
		case unstable.Table:
			at, skip = r.header(n)
		case unstable.ArrayTable:
			at, skip = r.arrayHeader(n)
		case unstable.KeyValue:
			if !skip {
				r.keyValue(at, n)
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
	return r.entries, r.listeners, r.faults
}

func (r *reader) fault(line int, key, format string, args ...any) {
	r.faults.add(r.origin(line), key, format, args...)
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

// arrayHeader begins a listener; skip: its keys are not worth reading.
func (r *reader) arrayHeader(n *unstable.Node) (at place, skip bool) {
	name, line := r.keyOf(n)
	if name != settings.ListenerSection {
		r.fault(line, name, "a table in double brackets has no meaning here")
		return at, true
	}
	r.listeners = append(r.listeners, line)
	return place{listener: len(r.listeners)}, false
}

// header begins the section of a table; skip: its keys are not worth
// reading.
func (r *reader) header(n *unstable.Node) (at place, skip bool) {
	section, line := r.keyOf(n)
	shown := "[" + section + "]"
	rest, inside := strings.CutPrefix(section, settings.ListenerSection+".")
	switch {
	case section == settings.ListenerSection:
		r.fault(line, shown, "write [[%s]], in double brackets: there may be several", section)
		return at, true
	case inside && len(r.listeners) == 0:
		r.fault(line, shown, "this belongs to the [[%s]] above it, and there is none", settings.ListenerSection)
		return at, true
	case inside:
		at = place{len(r.listeners), rest}
	default:
		at = place{0, section}
	}
	switch {
	case r.isSection(at):
	case inside && r.isSection(place{0, rest}):
		r.fault(line, shown, "[%s] is the same for all listeners", rest)
		return at, true
	default:
		r.fault(line, shown, "unknown section%s", didYouMean(at.section, r.sections(at.listener)))
		return at, true
	}
	r.once(place{at.listener, "[" + at.section + "]"}, shown, line)
	return at, false
}

// once reports whether the key, as it is shown, appears for the first time.
func (r *reader) once(at place, shown string, line int) bool {
	if before, again := r.seen[at]; again {
		r.fault(line, shown, "already set in line %d", before)
		return false
	}
	r.seen[at] = line
	return true
}

// keys are those that may stand in a listener, or outside of them.
func (r *reader) keys(listener int) []string {
	if listener > 0 {
		return r.inside
	}
	return r.known
}

func (r *reader) isSection(at place) bool {
	return slices.ContainsFunc(r.keys(at.listener), func(k string) bool { return strings.HasPrefix(k, at.section+".") })
}

func (r *reader) sections(listener int) (names []string) {
	for _, k := range r.keys(listener) {
		if i := strings.LastIndexByte(k, '.'); i > 0 && !slices.Contains(names, k[:i]) {
			names = append(names, k[:i])
		}
	}
	return names
}

// shownIn is a key of a file as faults name it.
func shownIn(listener int, key string) string {
	if listener > 0 {
		return fmt.Sprintf("[[%s]] %s", settings.ListenerSection, key)
	}
	return key
}

func (r *reader) keyValue(at place, n *unstable.Node) {
	key, line := r.keyOf(n)
	if at.section != "" {
		key = at.section + "." + key
	}
	value, listener := n.Value(), at.listener
	at = place{listener, key}
	shown := shownIn(listener, key)
	switch known := slices.Contains(r.keys(listener), key); {
	case value.Kind == unstable.InlineTable && r.isSection(at):
		for it := value.Children(); it.Next(); {
			r.keyValue(at, it.Node())
		}
	case !known && r.isSection(at):
		r.fault(line, shown, "this is a section, not a setting")
	case listener == 0 && (key == settings.ListenerSection || strings.HasPrefix(key, settings.ListenerSection+".")):
		r.fault(line, shown, "write a listener as a table, [[%s]] in a line of its own and its keys below", settings.ListenerSection)
	case !known && listener > 0 && slices.Contains(r.known, key):
		r.fault(line, shown, "this is the same for all listeners; set it outside of [[%s]]", settings.ListenerSection)
	case !known:
		r.fault(line, shown, "unknown key%s", didYouMean(key, r.keys(listener)))
	case r.once(at, shown, line):
		e := newEntry(key, line, value)
		e.listener = listener
		r.entries = append(r.entries, e)
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
