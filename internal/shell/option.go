package shell

import (
	"fmt"
	"strconv"
	"strings"
)

// option is one option of a command.
type option struct {
	name    string // without dashes
	short   byte   // 0: it has no short form
	value   string // what help calls the value; "" is a switch
	help    string
	choices func(s *Shell, prefix string) []string // what the value can be, for completion; nil: anything
	secret  bool                                   // the value must not get into the history
	set     func(r *request, value string) error
}

func (o *option) isSwitch() bool { return o.value == "" }

// usage is the option as help writes it, such as "-q, --qos LEVEL".
func (o *option) usage() string {
	text := "--" + o.name
	if o.short != 0 {
		text = "-" + string(o.short) + ", " + text
	}
	if !o.isSwitch() {
		text += " " + o.value
	}
	return text
}

// given is an option as a line, or a default, gives it.
type given struct {
	option *option
	value  string
}

// apply writes the option into r.
func (g given) apply(r *request) error {
	if err := g.option.set(r, g.value); err != nil {
		return fmt.Errorf("--%s %s: %w", g.option.name, quote(g.value), err)
	}
	return nil
}

// input is a line that was parsed.
type input struct {
	command *command
	words   []word // the arguments, without options
	given   []given
}

// text is argument n, or "" if there are fewer.
func (in *input) text(n int) string {
	if n < len(in.words) {
		return in.words[n].text
	}
	return ""
}

// parse finds the command that words begin with, and sorts the others into
// arguments and options. A quoted word is always an argument, and so are all
// words after --.
func parse(commands []command, words []word) (*input, error) {
	c := find(commands, words[0].text)
	if c == nil {
		return nil, fmt.Errorf("%s: unknown command; 'help' lists them", words[0].text)
	}
	in := &input{command: c}
	for rest := words[1:]; len(rest) > 0; {
		w := rest[0]
		rest = rest[1:]
		if w.text == "--" && !w.quoted {
			in.words = append(in.words, rest...)
			break
		}
		if !isOption(w) {
			in.words = append(in.words, w)
			continue
		}
		g, used, err := parseOption(c, w.text, rest)
		if err != nil {
			return in, fmt.Errorf("%s: %w", c.name, err)
		}
		in.given = append(in.given, g)
		rest = rest[used:]
	}
	return in, in.checkCount()
}

// isOption reports whether a word is an option. A dash alone is a packet, and
// -5 is a number.
func isOption(w word) bool {
	if w.quoted || len(w.text) < 2 || w.text[0] != '-' {
		return false
	}
	c := w.text[1] | 0x20 // in lower case
	return w.text[1] == '-' || 'a' <= c && c <= 'z'
}

// parseOption reads the option text, which takes its value from the first word
// of rest unless the word holds it: --qos=1, -q1.
func parseOption(c *command, text string, rest []word) (g given, used int, err error) {
	name, value, joined := strings.Cut(text, "=")
	if strings.HasPrefix(name, "--") {
		g.option = c.option(name[2:])
	} else if g.option = c.shortOption(name[1]); g.option != nil && len(text) > 2 {
		value, joined = strings.TrimPrefix(text[2:], "="), true
	}
	switch {
	case g.option == nil:
		return g, 0, fmt.Errorf("unknown option %s; 'help %s' lists them, and quotes make a text of it", name, c.name)
	case joined:
		g.value = value
	case g.option.isSwitch():
		g.value = "true"
	case len(rest) == 0:
		return g, 0, fmt.Errorf("%s needs a value: %s", name, g.option.usage())
	default:
		g.value, used = rest[0].text, 1
	}
	return g, used, nil
}

func (in *input) checkCount() error {
	c, n := in.command, len(in.words)
	switch {
	case n < c.min:
		return fmt.Errorf("%s: something is missing: %s", c.name, c.usage())
	case c.max >= 0 && n > c.max:
		return fmt.Errorf("%s: %s is too much: %s (quote a text that has spaces)", c.name, quote(in.words[c.max].text), c.usage())
	}
	return nil
}

// fill writes the defaults into r, and then the options of the line.
func (in *input) fill(r *request, defaults []given) error {
	if err := in.fillDefaults(r, defaults); err != nil {
		return err
	}
	return in.fillGiven(r)
}

func (in *input) fillDefaults(r *request, defaults []given) error {
	for _, d := range defaults {
		if o := in.command.option(d.option.name); o != nil {
			if err := (given{o, d.value}).apply(r); err != nil {
				return usagef("%s: default %w", in.command.name, err)
			}
		}
	}
	return nil
}

func (in *input) fillGiven(r *request) error {
	for _, g := range in.given {
		if err := g.apply(r); err != nil {
			return usagef("%s: %w", in.command.name, err)
		}
	}
	return nil
}

// toSwitch writes a switch into b.
func toSwitch(b *bool, value string) (err error) {
	if *b, err = strconv.ParseBool(value); err != nil {
		return fmt.Errorf("it is a switch: leave the value away, or write true or false")
	}
	return nil
}

// toNumber writes a whole number from least to most into n.
func toNumber[T ~uint8 | ~uint16 | ~uint32 | ~int](n *T, value string, from, to uint64) error {
	v, err := strconv.ParseUint(value, 10, 64)
	if err != nil || v < from || v > to {
		return fmt.Errorf("write a whole number from %d to %d", from, to)
	}
	*n = T(v)
	return nil
}
