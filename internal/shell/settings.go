package shell

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// setting is something about the shell itself that set changes.
type setting struct {
	name    string
	value   string // what help calls the value
	help    string
	choices []string
	get     func(s *Shell) string
	set     func(s *Shell, value string) error
}

func settings() []setting {
	onOff := []string{"on", "off"}
	return []setting{
		{
			"color", "on|off", "color messages", onOff,
			func(s *Shell) string { return onOrOff(s.look().color) },
			func(s *Shell, v string) error {
				return s.changeLook(func(l *look) error { return toOnOff(&l.color, v) })
			},
		},
		{
			"history", "on|off", "keep the lines that are typed", onOff,
			func(s *Shell) string { return onOrOff(!s.history.off) },
			func(s *Shell, v string) error {
				on := false
				err := toOnOff(&on, v)
				s.history.off = !on
				return err
			},
		},
		{
			"limit", "BYTES", "show so much of a payload", nil,
			func(s *Shell) string { return fmt.Sprint(s.look().limit) },
			func(s *Shell, v string) error {
				return s.changeLook(func(l *look) error { return toNumber(&l.limit, v, 0, math.MaxInt32) })
			},
		},
		{
			"payload", "text|hex|base64|none", "show payloads this way",
			[]string{"text", "hex", "base64", "none"},
			func(s *Shell) string { return s.look().payload },
			func(s *Shell, v string) error {
				if !slices.Contains([]string{"text", "hex", "base64", "none"}, v) {
					return errors.New("it can be text, hex, base64 or none")
				}
				return s.changeLook(func(l *look) error { l.payload = v; return nil })
			},
		},
		{
			"time", "on|off", "begin each message with the time", onOff,
			func(s *Shell) string { return onOrOff(s.look().time) },
			func(s *Shell, v string) error {
				return s.changeLook(func(l *look) error { return toOnOff(&l.time, v) })
			},
		},
		{
			"timeout", "TIME", "wait so long for answers and messages", nil,
			func(s *Shell) string { return s.timeout.String() },
			func(s *Shell, v string) error {
				d, err := parseTimeout(v)
				if err == nil {
					s.timeout = d
				}
				return err
			},
		},
	}
}

func onOrOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func toOnOff(b *bool, value string) error {
	if value != "on" && value != "off" {
		return errors.New("it can be on or off")
	}
	*b = value == "on"
	return nil
}

func setCommand() command {
	var about strings.Builder
	about.WriteString("Without anything it lists what is set. NAME is one of these:\n\n")
	var rows [][2]string
	for _, t := range settings() {
		rows = append(rows, [2]string{t.name + " " + t.value, t.help})
	}
	table(&about, rows, 0)
	about.WriteString(`
or the name of an option of connect, pub, sub, unsub or wait, without dashes: then it is the default of that option, in
all of these commands that know it. A switch takes true or false.`)
	return command{
		name: "set", args: "[NAME [VALUE]]", max: 2,
		short:    "Show or change settings, and defaults of options",
		long:     about.String(),
		examples: []string{"set", "set payload hex", "set qos 1", "set address mqtts://broker.example", "set protocol-version 3.1.1"},
		complete: func(s *Shell, before []string, prefix string) (all []string) {
			for _, t := range settings() {
				switch {
				case len(before) == 0:
					all = append(all, t.name)
				case t.name == before[0]:
					return t.choices
				}
			}
			if len(before) == 0 {
				return append(all, s.optionNames()...)
			}
			if o := s.anyOption(before[0]); o != nil && o.choices != nil {
				return o.choices(s, prefix)
			}
			return nil
		},
		run: set,
	}
}

func set(_ context.Context, s *Shell, in *input) error {
	name, value := in.text(0), in.text(1)
	if len(in.words) == 0 {
		s.print(s.listSettings())
		return nil
	}
	all := settings()
	i := slices.IndexFunc(all, func(t setting) bool { return t.name == name })
	o := s.anyOption(name)
	switch {
	case i < 0 && o == nil:
		return usagef("set %s: there is no such setting or option; 'help set' lists the settings", quote(name))
	case len(in.words) == 1:
		return s.showSetting(name)
	case i >= 0:
		if err := all[i].set(s, value); err != nil {
			return usagef("set %s %s: %w", name, quote(value), err)
		}
		return nil
	}
	d := given{o, value}
	if err := d.apply(s.request()); err != nil {
		return usagef("set: %w", err)
	}
	if !repeatable(name) {
		s.removeDefault(name)
	}
	s.defaults = append(s.defaults, d)
	return nil
}

// repeatable reports whether an option adds to what others of its name said.
func repeatable(name string) bool { return strings.HasSuffix(name, "user-property") }

// removeDefault removes the defaults of an option, and reports whether there
// were any.
func (s *Shell) removeDefault(name string) bool {
	n := len(s.defaults)
	s.defaults = slices.DeleteFunc(s.defaults, func(g given) bool { return g.option.name == name })
	return len(s.defaults) < n
}

func unsetCommand() command {
	return command{
		name: "unset", args: "NAME", min: 1, max: 1,
		short:    "Remove the default of an option",
		examples: []string{"unset qos"},
		complete: func(s *Shell, _ []string, _ string) (all []string) {
			for _, d := range s.defaults {
				all = append(all, d.option.name)
			}
			return all
		},
		run: func(_ context.Context, s *Shell, in *input) error {
			if !s.removeDefault(in.text(0)) {
				return fmt.Errorf("unset %s: nothing is set", quote(in.text(0)))
			}
			return nil
		},
	}
}

func (s *Shell) listSettings() string {
	var rows [][2]string
	for _, t := range settings() {
		rows = append(rows, [2]string{t.name, t.get(s)})
	}
	for _, d := range s.defaults {
		rows = append(rows, [2]string{"--" + d.option.name, d.shown()})
	}
	var b strings.Builder
	table(&b, rows, s.console.textWidth())
	return b.String()
}

// shown is the value as it can be shown to anybody.
func (g given) shown() string {
	if g.option.secret {
		return "(secret)"
	}
	return quote(g.value)
}

func (s *Shell) showSetting(name string) error {
	for _, t := range settings() {
		if t.name == name {
			s.printf("%s %s\n", name, t.get(s))
			return nil
		}
	}
	found := false
	for _, d := range s.defaults {
		if d.option.name == name {
			s.printf("%s %s\n", name, d.shown())
			found = true
		}
	}
	if !found {
		return fmt.Errorf("set %s: nothing is set", name)
	}
	return nil
}

// anyOption finds an option for which there can be a default.
func (s *Shell) anyOption(name string) *option {
	for i := range s.commands {
		if c := &s.commands[i]; !c.noDefaults {
			if o := c.option(name); o != nil {
				return o
			}
		}
	}
	return nil
}

func (s *Shell) optionNames() (all []string) {
	for _, c := range s.commands {
		for _, o := range c.options {
			if !c.noDefaults {
				all = append(all, o.name)
			}
		}
	}
	return all
}
