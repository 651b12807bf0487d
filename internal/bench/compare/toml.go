package compare

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// lineError is a fault at a line of a plan.
type lineError struct {
	line int
	text string
}

func (e *lineError) Error() string { return strings.ReplaceAll(e.text, "\n", " ") }

// locate puts file and line in front of a fault, as compilers do.
func locate(name string, err error) error {
	if at, ok := errors.AsType[*lineError](err); ok && at.line > 0 {
		return fmt.Errorf("%s:%d: %w", name, at.line, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// table is a section of a TOML document. The first has no name.
type table struct {
	name    string
	array   bool // in double brackets
	line    int
	entries []entry
}

func (t table) header() string {
	if t.array {
		return "[[" + t.name + "]]"
	}
	return "[" + t.name + "]"
}

// kind is the form of a value.
type kind int

const (
	kindText   kind = iota // in quotes
	kindPlain              // a number, true or false
	kindWords              // a list of texts
	kindFields             // a table in braces
	kindOther
)

// entry is a key with its value.
type entry struct {
	key   string
	line  int
	kind  kind
	text  string   // of kindText and kindPlain; numbers without underscores
	words []string // of kindWords
	inner []entry  // of kindFields
}

// readTables reads a TOML document. The library's decoder isn't used, because
// it doesn't tell the lines of what it accepted.
func readTables(doc []byte) ([]table, error) {
	p := &unstable.Parser{}
	p.Reset(doc)
	all := []table{{line: 1}}
	seen := map[string]bool{}
	for p.NextExpression() {
		n := p.Expression()
		switch n.Kind {
		case unstable.Table, unstable.ArrayTable:
			name, line := keyOf(p, n)
			all = append(all, table{name: name, array: n.Kind == unstable.ArrayTable, line: line})
			clear(seen)
		case unstable.KeyValue:
			e := readEntry(p, n)
			if seen[e.key] {
				return all, &lineError{e.line, e.key + ": set twice"}
			}
			seen[e.key] = true
			last := &all[len(all)-1]
			last.entries = append(last.entries, e)
		}
	}
	if err := p.Error(); err != nil {
		line := 0
		if pe, ok := errors.AsType[*unstable.ParserError](err); ok {
			line = p.Shape(p.Range(pe.Highlight)).Start.Line
		}
		return all, &lineError{line, err.Error()}
	}
	return all, nil
}

// keyOf returns the key of a node and its line.
func keyOf(p *unstable.Parser, n *unstable.Node) (key string, line int) {
	var parts []string
	for it := n.Key(); it.Next(); {
		if line == 0 {
			line = p.Shape(it.Node().Raw).Start.Line
		}
		parts = append(parts, string(it.Node().Data))
	}
	return strings.Join(parts, "."), line
}

func readEntry(p *unstable.Parser, n *unstable.Node) entry {
	e := entry{kind: kindOther}
	e.key, e.line = keyOf(p, n)
	switch v := n.Value(); v.Kind {
	case unstable.String:
		e.kind, e.text = kindText, string(v.Data)
	case unstable.Integer, unstable.Float, unstable.Bool:
		e.kind, e.text = kindPlain, strings.ReplaceAll(string(v.Data), "_", "")
	case unstable.Array:
		e.kind = kindWords
		for it := v.Children(); it.Next(); {
			switch it.Node().Kind {
			case unstable.Comment:
			case unstable.String:
				e.words = append(e.words, string(it.Node().Data))
			default:
				e.kind = kindOther
			}
		}
	case unstable.InlineTable:
		e.kind, e.inner = kindFields, []entry{}
		for it := v.Children(); it.Next(); {
			e.inner = append(e.inner, readEntry(p, it.Node()))
		}
	}
	return e
}
