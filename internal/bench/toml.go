package bench

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// DecodeTable reads a TOML document without sections for ParseTable. The
// parser alone will do for that; the library's decoder would add 340 kB to the
// program.
func DecodeTable(text []byte) (map[string]any, error) {
	p := new(unstable.Parser)
	p.Reset(text)
	all := map[string]any{}
	for p.NextExpression() {
		n := p.Expression()
		if n.Kind == unstable.Comment {
			continue
		}
		var parts []string
		line := 0
		for it := n.Key(); it.Next(); {
			line = p.Shape(it.Node().Raw).Start.Line
			parts = append(parts, string(it.Node().Data))
		}
		key := strings.Join(parts, ".")
		switch {
		case n.Kind != unstable.KeyValue:
			return nil, fmt.Errorf("line %d: [%s]: a scenario has no sections", line, key)
		case all[key] != nil:
			return nil, fmt.Errorf("line %d: %s: set twice", line, key)
		}
		switch v := n.Value(); v.Kind {
		case unstable.String:
			all[key] = string(v.Data)
		case unstable.Integer, unstable.Float, unstable.Bool:
			all[key] = strings.ReplaceAll(string(v.Data), "_", "")
		default:
			return nil, fmt.Errorf("line %d: %s: is neither text, nor a number, nor true or false", line, key)
		}
	}
	err := p.Error()
	if at, ok := errors.AsType[*unstable.ParserError](err); ok {
		return nil, fmt.Errorf("line %d: %w", p.Shape(p.Range(at.Highlight)).Start.Line, err)
	}
	return all, err
}
