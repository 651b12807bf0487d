package shell

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"
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
				s.print(overview(s.commands, s.console.textWidth()))
				return nil
			}
			c := find(s.commands, in.text(0))
			if c == nil {
				return fmt.Errorf("there is no command %s; 'help' lists them", in.text(0))
			}
			s.print(c.help(s.console.textWidth()))
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

func overview(commands []command, width int) string {
	var b strings.Builder
	b.WriteString("Commands:\n")
	rows := make([][2]string, len(commands))
	for i, c := range commands {
		rows[i] = [2]string{strings.TrimSpace(c.name + " " + c.args), c.short}
	}
	table(&b, rows, width)
	b.WriteByte('\n')
	for rule := range strings.Lines(syntax) {
		b.WriteString(hang(rule, width, "  ") + "\n")
	}
	b.WriteString("\n'help COMMAND' lists its options and shows examples.\n")
	return b.String()
}

func (c *command) help(width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s.\n", c.usage(), c.short)
	for part := range strings.SplitSeq(c.long, "\n\n") {
		switch {
		case part == "":
		case strings.HasPrefix(part, "  "): // a table
			fmt.Fprintf(&b, "\n%s\n", part)
		default:
			fmt.Fprintf(&b, "\n%s\n", strings.Join(fold(part, width), "\n"))
		}
	}
	if len(c.options) > 0 {
		b.WriteString("\nOptions:\n")
		rows := make([][2]string, len(c.options))
		for i := range c.options {
			rows[i] = [2]string{c.options[i].usage(), c.options[i].help}
		}
		table(&b, rows, width)
	}
	b.WriteString("\nExamples:\n")
	for _, e := range c.examples {
		fmt.Fprintf(&b, "  %s\n", e)
	}
	return b.String()
}

// table writes rows of two columns, the second of which begins below itself and
// is folded to fit into width; 0 is no limit. Where the first takes more than
// half the width, the second begins on the next line.
func table(b *strings.Builder, rows [][2]string, width int) {
	const margin = 2 // before each column
	widest := 0
	for _, r := range rows {
		if n := utf8.RuneCountInString(r[0]); width == 0 || n <= width/2 {
			widest = max(widest, n)
		}
	}
	for _, r := range rows {
		name, room := r[0], 0
		if width > 0 {
			room = max(width-widest-2*margin, 1)
		}
		if utf8.RuneCountInString(name) > widest {
			fmt.Fprintf(b, "  %s\n", name)
			name = ""
		}
		for _, line := range fold(r[1], room) {
			fmt.Fprintf(b, "  %-*s  %s\n", widest, name, line)
			name = ""
		}
	}
}

// hang is fold with all lines but the first indented.
func hang(text string, width int, indent string) string {
	if width > 0 {
		width = max(width-len(indent), 1)
	}
	return strings.Join(fold(text, width), "\n"+indent)
}

// fold breaks a text into lines of up to width characters, between words; a
// longer word has a line of its own. 0 leaves the text as it is.
func fold(text string, width int) (lines []string) {
	text = strings.TrimSuffix(text, "\n")
	if width == 0 || utf8.RuneCountInString(text) <= width && !strings.Contains(text, "\n") {
		return []string{text}
	}
	line, length := "", 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if length > 0 && length+1+n > width {
			lines = append(lines, line)
			line, length = "", 0
		}
		if length > 0 {
			line, length = line+" ", length+1
		}
		line, length = line+word, length+n
	}
	return append(lines, line)
}
