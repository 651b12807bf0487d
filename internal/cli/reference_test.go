package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"midge/internal/cli/command"
)

var update = flag.Bool("update", false, "write the generated pages")

// documented are the commands that the reference has pages for.
func documented(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			all = append(all, documented(sub)...)
		}
	}
	return all
}

// markdown is a help text as Markdown: what is indented stays as it is, and no
// character of the rest has a meaning.
func markdown(text string) string {
	escape := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `_`, `\_`, `<`, `\<`, `>`, `\>`, `#`, `\#`, `$`, `\$`)
	var b strings.Builder
	indented := false
	for line := range strings.Lines(text) {
		code := strings.HasPrefix(line, " ") || indented && line == "\n"
		switch {
		case code && line != "\n":
			if !indented {
				b.WriteString("\n")
			}
			line = "  " + line
		case !code:
			if indented {
				b.WriteString("\n")
			}
			line = escape.Replace(line)
		}
		indented = code
		b.WriteString(line)
	}
	return b.String()
}

// table is the table of commands with its texts as Markdown, which cobra's
// generators take them for.
func table() []*cobra.Command {
	all := documented(root(command.World{}))
	for _, cmd := range all {
		cmd.DisableAutoGenTag = true
		cmd.Long = markdown(cmd.Long)
		cmd.InitDefaultHelpFlag()
	}
	return all
}

// reference is docs/reference/cli.md.
func reference(t *testing.T) []byte {
	var b bytes.Buffer
	b.WriteString("# Command line\n\nGenerated from the table of commands by `make docs`; don't edit it here. `midge COMMAND --help` prints the same, and the\n" +
		"man pages are in [docs/man](../man). Exit statuses: 0 done, 1 it could not be done, 2 the command line makes no sense.\n\n")
	all := table()
	for _, cmd := range all {
		path := cmd.CommandPath()
		fmt.Fprintf(&b, "- [%s](#%s): %s\n", path, strings.ReplaceAll(path, " ", "-"), cmd.Short)
	}
	for _, cmd := range all {
		b.WriteString("\n")
		var page bytes.Buffer
		link := func(file string) string { return "#" + strings.ReplaceAll(strings.TrimSuffix(file, ".md"), "_", "-") }
		if err := doc.GenMarkdownCustom(cmd, &page, link); err != nil {
			t.Fatal(err)
		}
		b.Write(bytes.TrimRight(page.Bytes(), "\n"))
		b.WriteString("\n")
	}
	return b.Bytes()
}

// manual are the man pages, by the names of their files. They have no date:
// what they are generated from has none.
func manual(t *testing.T) map[string][]byte {
	pages := map[string][]byte{}
	for _, cmd := range table() {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		var b bytes.Buffer
		header := &doc.GenManHeader{Title: strings.ToUpper(name), Section: "1", Source: "Midge " + command.Version, Manual: "Midge"}
		if err := doc.GenMan(cmd, header, &b); err != nil {
			t.Fatal(err)
		}
		dated := regexp.MustCompile(`(?m)^(\.TH "[^"]*" "1" ")[^"]+"`)
		page := dated.ReplaceAll(b.Bytes(), []byte(`$1"`))
		if bytes.Equal(page, b.Bytes()) {
			t.Fatalf("no date in the head of %s", name)
		}
		head, rest, _ := bytes.Cut(page, []byte(".SH OPTIONS\n")) // cobra's own has no columns, and shows empty defaults
		_, rest, _ = bytes.Cut(rest, []byte("\n.SH "))
		pages[name+".1"] = slices.Concat(head, manualOptions(cmd), []byte(".SH "), rest)
	}
	return pages
}

// manualOptions is the section of the flags in a man page.
func manualOptions(cmd *cobra.Command) []byte {
	escape := strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", "")
	var b bytes.Buffer
	b.WriteString(".SH OPTIONS\n")
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(f)
		b.WriteString(".TP\n")
		if f.Shorthand != "" {
			fmt.Fprintf(&b, `\fB\-%s\fP, `, escape.Replace(f.Shorthand))
		}
		fmt.Fprintf(&b, `\fB\-\-%s\fP`, escape.Replace(f.Name))
		if value != "" {
			fmt.Fprintf(&b, ` \fI%s\fP`, escape.Replace(value))
		}
		// The zero of a type is no default that is worth a word.
		if d := f.DefValue; d != "" && d != "0" && d != "0s" && d != "false" && d != "[]" && f.Value.Type() != "bool" {
			usage += " (default " + d + ")"
		}
		b.WriteString("\n" + escape.Replace(usage) + "\n")
	})
	b.WriteString("\n")
	return b.Bytes()
}

// TestReferenceIsUpToDate compares the pages with the table of commands;
// -update writes them.
func TestReferenceIsUpToDate(t *testing.T) {
	docs := filepath.Join("..", "..", "docs")
	pages := map[string][]byte{filepath.Join(docs, "reference", "cli.md"): reference(t)}
	for name, text := range manual(t) {
		pages[filepath.Join(docs, "man", name)] = text
	}
	there, err := filepath.Glob(filepath.Join(docs, "man", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range there {
		if _, wanted := pages[file]; !wanted && *update {
			err = os.Remove(file)
		} else if !wanted {
			t.Errorf("%s: there is no such command", file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range pages {
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not up to date (%v): run 'make docs'", file, err)
		}
	}
}

// TestCommandsHaveHelp proves that each command says in a line and in detail
// what it does, shows how to use it, and gives each of its flags a text.
func TestCommandsHaveHelp(t *testing.T) {
	for _, cmd := range documented(root(command.World{})) {
		path := cmd.CommandPath()
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s: it needs Short, Long and Example", path)
		}
		if strings.HasSuffix(cmd.Short, ".") || len(cmd.Short) > 80 {
			t.Errorf("%s: Short is a phrase of 80 characters at most, and ends without a full stop", path)
		}
		if !strings.Contains(cmd.Example, path) {
			t.Errorf("%s: no example calls it", path)
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the example %q should be indented by two spaces", path, line)
			}
		}
		cmd.InitDefaultHelpFlag()
		for line := range strings.Lines(cmd.Flags().FlagUsages()) {
			if len(strings.Fields(line)) < 2 {
				t.Errorf("%s: a flag without a text: %s", path, line)
			}
		}
	}
}

// TestExamplesParse proves that each example is a command line that midge
// would accept, down to its flags and the number of its arguments.
func TestExamplesParse(t *testing.T) {
	for _, cmd := range documented(root(command.World{})) {
		calls := 0
		for line := range strings.Lines(cmd.Example) {
			for _, args := range midgeCalls(words(line)) {
				calls++
				top := root(command.World{})
				called, rest, err := top.Find(command.JoinProperties(top, args))
				if err == nil {
					called.InitDefaultHelpFlag()
					err = called.ParseFlags(rest)
				}
				if err == nil {
					err = called.ValidateArgs(called.Flags().Args())
				}
				if err == nil {
					err = called.ValidateRequiredFlags()
				}
				if err == nil {
					err = called.ValidateFlagGroups()
				}
				if err != nil {
					t.Errorf("%s: the example %q: %v", cmd.CommandPath(), strings.TrimSpace(line), err)
				}
			}
		}
		if calls == 0 {
			t.Errorf("%s: its examples never call midge", cmd.CommandPath())
		}
	}
}

// words splits a line as a shell does, as far as the examples need it: quotes
// join words, and what separates commands is a word of its own.
func words(line string) (all []string) {
	word, quote, open := "", rune(0), false
	end := func() {
		if open {
			all = append(all, word)
		}
		word, open = "", false
	}
	for _, r := range strings.TrimSpace(line) {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == ' ':
			end()
		case r == '#' && !open:
			return all
		case r == ';':
			end()
			all = append(all, ";")
		default:
			word, open = word+string(r), true
		}
	}
	end()
	return all
}

// midgeCalls are the arguments of each call of midge among words. A command
// whose output is an argument stands for one word.
func midgeCalls(words []string) (calls [][]string) {
	var args []string
	inside, substituted, redirected := false, false, false
	for _, w := range append(words, ";") {
		switch {
		case substituted:
			substituted = !strings.HasSuffix(w, ")")
		case w == "|" || w == ";" || w == "&&" || w == "||" || w == "&":
			if inside {
				calls = append(calls, args)
			}
			inside, args = false, nil
		case redirected:
			redirected = false
		case w == ">" || w == ">>" || w == "<":
			redirected = true
		case !inside:
			inside = w == "midge" // what comes before is another program
		case strings.HasPrefix(w, "$("):
			args, substituted = append(args, "1"), !strings.HasSuffix(w, ")")
		default:
			args = append(args, w)
		}
	}
	return calls
}

func TestMidgeCalls(t *testing.T) {
	for line, want := range map[string]string{
		"  midge top":                            "[[top]]",
		"  midge sub -t 'a b' -F \"%t x\" # all": "[[sub -t a b -F %t x]]",
		"  tail -f log | midge pub -l":           "[[pub -l]]",
		"  midge a > b; midge c < d | jq .":      "[[a] [c]]",
		"  midge bench --pid $(pidof x y) -o z":  "[[bench --pid 1 -o z]]",
		"  midge bench --pid $(x) -o z":          "[[bench --pid 1 -o z]]",
		"  echo":                                 "[]",
	} {
		if got := fmt.Sprint(midgeCalls(words(line))); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

// TestCompletion asks for completions as the scripts of the shells do.
func TestCompletion(t *testing.T) {
	for _, tt := range []struct{ line, want string }{ // shells leave out what doesn't begin with the last word
		{"to", "top\tWatch a broker: clients, rates, drops, queues, disk\n:4\n"},
		{"completion ", "bash\nzsh\nfish\n:4\n"},
		{"sub -t x -q ", "0\n1\n2\n:4\n"},
		{"pub -t x -m x -V ", "5\n311\n31\n:4\n"},
		{"bench --mqtt ", "3.1.1\n5.0\n:4\n"},
		{"bench -o ", "table\njson\ngo\tfor benchstat\n:4\n"},
		{"bench through", "\nthroughput-1K\t"},
		{"bench p2p-1K-1K-1K-1K ", ":4\n"},
		{"bench --file ", "toml\n:8\n"},
		{"serve --data-dir ", ":16\n"},
		{"serve --log-level w", "warn\n"},
		{"serve --set sys.in", "\nsys.interval=\t\"10s\"\n"},
		{"serve --set ", "\n:6\n"},
		{"serve --config ", "toml\n:8\n"},
		{"serve ", ":4\n"},
		{"store export --kind ", "queued\nretained\nwill\n:4\n"},
		{"config check ", "toml\n:8\n"},
		{"pub --will-top", "\n--will-topic\tthe will's topic\n"},
		{"top --cafile ", ":0\n"},
		{"top --username ", ":4\n"},
	} {
		status, stdout, stderr := run(t, nil, nil, append([]string{"__complete"}, strings.Split(tt.line, " ")...)...)
		if status != command.Done || !strings.Contains("\n"+stdout, tt.want) {
			t.Errorf("midge %s: status %d, %q, want %q\n%s", tt.line, status, stdout, tt.want, stderr)
		}
	}
}

// TestChoicesAreOfFlags proves that all choices belong to a flag, and that each
// command that has it completes it.
func TestChoicesAreOfFlags(t *testing.T) {
	all := documented(root(command.World{}))
	for key := range choices() {
		path, name := "", key
		if i := strings.LastIndex(key, " "); i >= 0 {
			path, name = key[:i], key[i+1:]
		}
		used := 0
		for _, cmd := range all {
			if cmd.Flags().Lookup(name) == nil || path != "" && path != cmd.CommandPath() {
				continue
			}
			used++
			if _, ok := cmd.GetFlagCompletionFunc(name); !ok {
				t.Errorf("%s --%s has no completion", cmd.CommandPath(), name)
			}
		}
		if used == 0 {
			t.Errorf("no command has a flag %q", key)
		}
	}
}

func TestCompletionScripts(t *testing.T) {
	for shell, want := range map[string]string{"bash": "__start_midge", "zsh": "#compdef midge", "fish": "complete -c midge"} {
		status, stdout, stderr := run(t, nil, nil, "completion", shell)
		if status != command.Done || !strings.Contains(stdout, want) || stderr != "" {
			t.Errorf("%s: status %d, %d bytes without %q, %s", shell, status, len(stdout), want, stderr)
		}
	}
	if status, _, stderr := run(t, nil, nil, "completion", "tcsh"); status != command.Misuse || !strings.Contains(stderr, `"tcsh"`) {
		t.Errorf("tcsh: status %d, %s", status, stderr)
	}
}
