package shell

import (
	"fmt"
	"strings"
)

// Reference is the reference page of the commands, as Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Commands of midge shell\n\nGenerated from the table of commands; `help` in the shell says the same.\n\n")
	b.WriteString("| command | |\n| --- | --- |\n")
	all := commands()
	for i := range all {
		c := &all[i]
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", cell(strings.TrimSpace(c.name+" "+c.args)), c.name, c.short)
	}
	b.WriteString("\n## How a line is written\n\n")
	for line := range strings.Lines(syntax) {
		b.WriteString("- " + escapeMarkdown(line))
	}
	for i := range all {
		all[i].reference(&b)
	}
	return b.String()
}

func (c *command) reference(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n```\n%s\n```\n\n%s.\n", c.name, c.usage(), c.short)
	if c.long != "" {
		b.WriteString("\n" + paragraphs(c.long) + "\n")
	}
	if len(c.options) > 0 {
		b.WriteString("\n| option | |\n| --- | --- |\n")
		for i := range c.options {
			fmt.Fprintf(b, "| `%s` | %s |\n", cell(c.options[i].usage()), escapeMarkdown(c.options[i].help))
		}
	}
	fmt.Fprintf(b, "\n```\n%s\n```\n", strings.Join(c.examples, "\n"))
}

// paragraphs writes text as Markdown, with lines that are indented as they are.
func paragraphs(text string) string {
	var parts []string
	for part := range strings.SplitSeq(text, "\n\n") {
		if strings.HasPrefix(part, "  ") {
			part = "```\n" + part + "\n```"
		} else {
			part = escapeMarkdown(part)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "\n\n")
}

// cell is code in a table, which a bar would end even there.
func cell(code string) string { return strings.ReplaceAll(code, "|", `\|`) }

func escapeMarkdown(s string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", `\<`, "*", `\*`, "_", `\_`).Replace(s)
}
