package shell

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// candidates lists what the word can become that ends at byte pos of line, and
// the byte at which that word begins.
func (s *Shell) candidates(line string, pos int) (all []string, at int) {
	words, err := split(line[:pos])
	if _, open := errors.AsType[*unclosedError](err); err != nil && !open {
		return nil, pos
	}
	if len(words) == 0 && strings.TrimLeft(line[:pos], " \t") != "" {
		return nil, pos // a comment
	}
	current := word{at: pos}
	if n := len(words); n > 0 && (err != nil || !blank(line[pos-1])) {
		current, words = words[n-1], words[:n-1]
	}
	for _, c := range s.possible(words, current) {
		if strings.HasPrefix(c, current.text) {
			all = append(all, c)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), current.at
}

// possible lists what current can be after the words before it.
func (s *Shell) possible(before []word, current word) (all []string) {
	if len(before) == 0 {
		for _, c := range s.commands {
			all = append(all, c.name)
		}
		return all
	}
	c := find(s.commands, strings.TrimPrefix(before[0].text, "!"))
	if c == nil {
		return nil
	}
	in, open := parseSoFar(c, before[1:])
	switch {
	case open != nil && open.choices != nil:
		return open.choices(s, current.text)
	case open != nil:
		return nil
	case isOption(current) || current.text == "-" && !current.quoted:
		for _, o := range c.options {
			all = append(all, "--"+o.name)
		}
	case c.complete != nil && (c.max < 0 || len(in) < c.max):
		all = c.complete(s, in, current.text)
	}
	return all
}

// parseSoFar returns the arguments among words, and the option that waits for
// its value after the last one.
func parseSoFar(c *command, words []word) (arguments []string, open *option) {
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		if !isOption(w) {
			arguments = append(arguments, w.text)
			continue
		}
		g, used, err := parseOption(c, w.text, words)
		if err != nil {
			open = g.option
			continue
		}
		words = words[used:]
	}
	return arguments, open
}

// complete extends the word at pos as far as its candidates agree. If that
// adds nothing it returns the candidates for the user to see.
func (s *Shell) complete(line string, pos int) (newLine string, newPos int, show []string) {
	all, at := s.candidates(line, pos)
	if len(all) == 0 {
		return line, pos, nil
	}
	text := requote(all[0], line[at:pos])
	if len(all) > 1 {
		common := commonPrefix(all)
		text = requote(common, line[at:pos])
		if text != common {
			text = text[:len(text)-1] // the quote stays open for what follows
		}
		if common == "" || len(text) <= pos-at {
			return line, pos, all
		}
	} else if !strings.HasSuffix(text, "/") && !strings.HasPrefix(line[pos:], " ") {
		text += " "
	}
	return line[:at] + text + line[pos:], at + len(text), nil
}

// requote writes s as one word, in quotes if what it replaces began with one.
func requote(s, typed string) string {
	if plain(s) && (strings.HasPrefix(typed, "'") || strings.HasPrefix(typed, `"`)) {
		return "'" + s + "'"
	}
	return quote(s)
}

// commonPrefix is what all words begin with, in whole characters.
func commonPrefix(words []string) string {
	common := words[0]
	for _, w := range words[1:] {
		for !strings.HasPrefix(w, common) {
			_, size := utf8.DecodeLastRuneInString(common)
			common = common[:len(common)-size]
		}
	}
	return common
}

// files lists the files that prefix could become, directories with a slash at
// their end. Hidden files show once the dot is typed.
func files(prefix string) (all []string) {
	dir, start := filepath.Split(prefix)
	from := dir
	if from == "" {
		from = "."
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return nil // there is nothing to complete
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") && !strings.HasPrefix(start, ".") {
			continue
		}
		if e.IsDir() {
			name += "/"
		}
		all = append(all, dir+name)
	}
	return all
}

// oneOf is for options with a fixed set of values.
func oneOf(values ...string) func(*Shell, string) []string {
	return func(*Shell, string) []string { return values }
}
