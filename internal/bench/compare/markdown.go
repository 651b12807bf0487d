package compare

import (
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes the report as Markdown. plot is the name of the SVG file
// beside it, and page that of the HTML page; either may be empty.
func (c *Comparison) WriteMarkdown(w io.Writer, plot, page string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", c.Title)
	fmt.Fprintf(&b, "**%s**\n\n", c.verdict())
	c.markdownFailures(&b)
	if c.About != "" {
		fmt.Fprintf(&b, "%s\n\n", c.About)
	}
	if plot != "" {
		fmt.Fprintf(&b, "![%s](%s)\n\n", c.Title, plot)
	}
	if page != "" {
		fmt.Fprintf(&b, "With all plots: [%s](%s).\n\n", page, page)
	}
	for _, f := range c.facts() {
		fmt.Fprintf(&b, "- %s: %s\n", f.name, markdownText(f.text))
	}
	fmt.Fprintf(&b, "\n%s\n", c.legend())
	for _, s := range c.sections() {
		c.markdownSection(&b, &s)
	}
	b.WriteString("\n## How the brokers were started\n")
	for _, k := range c.Brokers {
		fmt.Fprintf(&b, "\n%s:\n\n    %s\n", k.Name, strings.Join(k.Command, " "))
		for _, f := range k.Files {
			fmt.Fprintf(&b, "\n%s:\n\n%s", f.Name, indent(f.Text))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Comparison) markdownFailures(b *strings.Builder) {
	for _, f := range c.failures() {
		for _, text := range f.faults {
			first, rest, more := strings.Cut(text, "\n")
			fmt.Fprintf(b, "- **%s**: %s\n", f.where, markdownText(first))
			if more {
				fmt.Fprintf(b, "\n%s\n", indent(indent(rest)))
			}
		}
		if f.output != "" {
			fmt.Fprintf(b, "\n  The broker's output ended with:\n\n%s\n", indent(indent(f.output)))
		}
	}
	if c.Failures() > 0 {
		b.WriteString("\n")
	}
}

func (c *Comparison) markdownSection(b *strings.Builder, s *section) {
	fmt.Fprintf(b, "\n## %s\n\n", s.load.Name)
	if s.load.About != "" {
		fmt.Fprintf(b, "%s\n\n", s.load.About)
	}
	if warning := c.warning(s.load.Name); warning != "" {
		fmt.Fprintf(b, "**%s**\n\n", warning)
	}
	fmt.Fprintf(b, "%s.\n\n|  |", s.load.Scenario.Describe())
	for _, k := range c.Brokers {
		fmt.Fprintf(b, " %s |", k.Name)
	}
	fmt.Fprintf(b, "\n| --- |%s\n", strings.Repeat(" ---: |", len(c.Brokers)))
	for _, r := range s.rows {
		fmt.Fprintf(b, "| %s |", r.figure.Name)
		for i := range r.cells {
			fmt.Fprintf(b, " %s |", markdownCell(&r.cells[i], r.figure.Unit))
		}
		b.WriteString("\n")
	}
	for _, n := range s.notes {
		fmt.Fprintf(b, "\nNote: %s\n", markdownText(n))
	}
}

func markdownCell(c *cell, unit string) string {
	if !c.ok {
		return "–"
	}
	text := format(c.stats.Median, unit)
	if c.best {
		text = "**" + text + "**"
	}
	if len(c.stats.Values) > 1 {
		text += " (" + between(c.stats.Low, c.stats.High, unit) + ")"
	}
	return strings.TrimSpace(text + " " + c.ratioText())
}

// markdownText keeps text on one line and from meaning something in a table.
func markdownText(text string) string {
	return strings.NewReplacer("\n", " ", "|", `\|`, "<", "&lt;").Replace(strings.TrimSpace(text))
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
