package shell

import (
	"context"
	"slices"
	"strings"
)

// command is one command. From the table of commands come parsing, completion,
// help and the reference page.
type command struct {
	name     string
	args     string // the arguments as help writes them, such as "TOPIC PACKET"
	min, max int    // how many there can be; -1: any number
	short    string // what it does, in a few words
	long     string
	options  []option
	examples []string

	// noDefaults leaves out the defaults of options that set sets.
	noDefaults bool

	// complete lists what can follow the arguments before, when the user has
	// typed prefix; what doesn't begin with prefix is left out later.
	complete func(s *Shell, before []string, prefix string) []string

	// run does it. ctx ends when the user interrupts the command.
	run func(ctx context.Context, s *Shell, in *input) error
}

// usage is the command as help writes it.
func (c *command) usage() string {
	text := c.name
	if c.args != "" {
		text += " " + c.args
	}
	if len(c.options) > 0 {
		text += " [options]"
	}
	return text
}

func (c *command) option(name string) *option {
	i := slices.IndexFunc(c.options, func(o option) bool { return o.name == name })
	if i < 0 {
		return nil
	}
	return &c.options[i]
}

func (c *command) shortOption(char byte) *option {
	i := slices.IndexFunc(c.options, func(o option) bool { return o.short == char })
	if i < 0 || char == 0 {
		return nil
	}
	return &c.options[i]
}

func find(commands []command, name string) *command {
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return &commands[i]
}

// secret reports whether a line must be kept out of the history. It looks for
// the options that hold secrets, of whatever command, since a mistyped line is
// as telling.
func secret(commands []command, line string) bool {
	words, _ := split(line)
	for i, w := range words {
		if i == 1 && words[0].text == "set" {
			w.text = "--" + w.text
		}
		if w.quoted || len(w.text) < 2 || w.text[0] != '-' {
			continue
		}
		name, _, _ := strings.Cut(w.text, "=")
		for i := range commands {
			for _, o := range commands[i].options {
				if o.secret && (name == "--"+o.name || o.short != 0 && strings.HasPrefix(name, "-"+string(o.short))) {
					return true
				}
			}
		}
	}
	return false
}
