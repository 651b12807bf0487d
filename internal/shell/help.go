package shell

import (
	"context"
	"fmt"
	"strings"
)

func helpCommand() command {
	return command{
		name: "help", args: "[COMMAND]", max: 1,
		short:    "List the commands, or explain one",
		long:     "Without a command it lists all of them, and how a line is written.",
		examples: []string{"help", "help pub"},
		complete: func(s *Shell, _ []string, _ string) (all []string) {
			for _, c := range s.commands {
				all = append(all, c.name)
			}
			return all
		},
		run: func(_ context.Context, s *Shell, in *input) error {
			if len(in.words) == 0 {
				s.print(overview(s.commands))
				return nil
			}
			c := find(s.commands, in.text(0))
			if c == nil {
				return fmt.Errorf("there is no command %s; 'help' lists them", in.text(0))
			}
			s.print(c.help())
			return nil
		},
	}
}

// syntax is how lines are written, one rule a line.
const syntax = `'single quotes' keep everything; "double quotes" know \n \t \" \\ \x1b \u00e9; \ takes the meaning from the next character.
A PACKET is text, @file, - for the lines that follow up to a line with a dot alone, or the name of a saved packet.
Quotes make a text of anything: pub t '@home', pub t '-'. After -- nothing is an option.
A line that begins with # is a comment; one that begins with ! is for scripts: the command must fail.
`

func overview(commands []command) string {
	var b strings.Builder
	b.WriteString("Commands:\n")
	rows := make([][2]string, len(commands))
	for i, c := range commands {
		rows[i] = [2]string{strings.TrimSpace(c.name + " " + c.args), c.short}
	}
	table(&b, rows)
	b.WriteString("\n" + syntax + "\n'help COMMAND' lists its options and shows examples.\n")
	return b.String()
}

func (c *command) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s.\n", c.usage(), c.short)
	if c.long != "" {
		fmt.Fprintf(&b, "\n%s\n", c.long)
	}
	if len(c.options) > 0 {
		b.WriteString("\nOptions:\n")
		rows := make([][2]string, len(c.options))
		for i := range c.options {
			rows[i] = [2]string{c.options[i].usage(), c.options[i].help}
		}
		table(&b, rows)
	}
	b.WriteString("\nExamples:\n")
	for _, e := range c.examples {
		fmt.Fprintf(&b, "  %s\n", e)
	}
	return b.String()
}

// table writes rows of two columns, the second of which begins below itself.
func table(b *strings.Builder, rows [][2]string) {
	widest := 0
	for _, r := range rows {
		widest = max(widest, len(r[0]))
	}
	for _, r := range rows {
		fmt.Fprintf(b, "  %-*s  %s\n", widest, r[0], r[1])
	}
}

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
