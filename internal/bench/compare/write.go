package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Write writes all reports to files whose names begin with prefix: .md, .html,
// .svg, .json with all results, and .txt in the Go benchmark format, for
// benchstat. It returns their names.
func (c *Comparison) Write(prefix string) (names []string, err error) {
	if err := os.MkdirAll(filepath.Dir(prefix), 0o755); err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	base := filepath.Base(prefix)
	for _, form := range []struct {
		suffix string
		write  func(io.Writer) error
	}{
		{".json", c.WriteJSON}, // first: the others can be made from it
		{".txt", c.WriteGo},
		{".svg", c.WriteSVG},
		{".html", c.WriteHTML},
		{".md", func(w io.Writer) error { return c.WriteMarkdown(w, base+".svg", base+".html") }},
	} {
		var b strings.Builder
		if err := form.write(&b); err != nil {
			return names, fmt.Errorf("write the report %s: %w", prefix+form.suffix, err)
		}
		if err := os.WriteFile(prefix+form.suffix, []byte(b.String()), 0o644); err != nil {
			return names, fmt.Errorf("write the report: %w", err)
		}
		names = append(names, prefix+form.suffix)
	}
	return names, nil
}

// WriteJSON writes all that was measured, from which Read makes the comparison
// again.
func (c *Comparison) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(c)
}

// Read reads what WriteJSON has written in the file name.
func Read(name string) (*Comparison, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	c := &Comparison{}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("read results %s: %w", name, err)
	}
	if len(c.Brokers) == 0 || len(c.Scenarios) == 0 {
		return nil, fmt.Errorf("read results %s: no brokers or scenarios in it", name)
	}
	return c, nil
}

// WriteGo writes the results of all rounds in the Go benchmark format, a line
// for each. benchstat -col /broker compares them.
func (c *Comparison) WriteGo(w io.Writer) error {
	for i := range c.Runs {
		if r := c.Runs[i].Result; r != nil {
			if err := r.WriteGo(w); err != nil {
				return err
			}
		}
	}
	return nil
}
