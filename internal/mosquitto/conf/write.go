package conf

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"midge/internal/settings"
)

// writer writes the file that is made, and remembers what its lines are from.
type writer struct {
	text []byte
	from map[int]Line
}

func (w *writer) line(format string, args ...any) {
	w.text = append(fmt.Appendf(w.text, format, args...), '\n')
}

// number is that of the next line.
func (w *writer) number() int { return 1 + bytes.Count(w.text, []byte{'\n'}) }

// entry writes a setting and, behind it, where it comes from.
func (w *writer) entry(key string, e *entry) {
	if len(e.from) > 0 {
		w.from[w.number()] = e.from[0]
	}
	if e.note != "" {
		w.line("# %s.", e.note)
	}
	if len(e.from) > 0 {
		w.from[w.number()] = e.from[0]
	}
	w.line("%s = %s%s", key, e.value, origins(e.from))
}

// origins is the comment with the lines that something comes from.
func origins(from []Line) string {
	var texts []string
	for i := range from {
		texts = append(texts, from[i].Place()+": "+from[i].String())
	}
	if texts == nil {
		return ""
	}
	return "  # " + printable(strings.Join(texts, "; "))
}

// write writes what was found out about the file of the name.
func (c *converter) write(name string) *writer {
	w := &writer{from: map[int]Line{}}
	w.line("# Made from %s. Behind each setting stands the line that it comes from; all others have", printable(name))
	w.line("# the defaults of this broker, which 'midge config reference' explains.")
	w.line("")
	c.writeListen(w)
	for _, sec := range settings.Table() {
		c.writeSection(w, &sec)
	}
	for _, l := range c.used() {
		if len(l.access.closed) == 0 && len(l.own) > 0 {
			w.line("")
			w.from[w.number()] = l.from()
			w.line("[[%s]]", settings.ListenerSection)
			w.entry("address", &entry{value: quote(l.address(c.local)), from: l.lines})
			for i := range l.own {
				w.entry(l.own[i].key, &l.own[i])
			}
		}
	}
	c.writeClosed(w)
	c.writeFindings(w, "What could not be taken over", Fault, Blocking, Missing)
	c.writeFindings(w, "What needs no setting", Same)
	return w
}

// writeListen writes the listeners that have no settings of their own.
func (c *converter) writeListen(w *writer) {
	var all []*listener
	open := 0
	for _, l := range c.used() {
		if len(l.access.closed) == 0 {
			open++
			if len(l.own) == 0 {
				all = append(all, l)
			}
		}
	}
	switch {
	case open == 0:
		w.line("# None of the listeners can be opened as they are: see below. Until one is written here, the broker listens on")
		w.line("# loopback addresses only.")
	case len(all) == 1 && len(all[0].lines) == 0:
		w.line("# Mosquitto's default without a listener: this machine only.")
		fallthrough
	case len(all) == 1:
		w.entry("listen", &entry{value: "[" + quote(all[0].address(c.local)) + "]", from: all[0].lines})
	case len(all) > 1:
		w.from[w.number()] = all[0].from()
		w.line("listen = [")
		for _, l := range all {
			w.from[w.number()] = l.from()
			w.line("  %s,%s", quote(l.address(c.local)), origins(l.lines))
		}
		w.line("]")
	}
}

// writeSection writes the settings of a section in the order of the reference.
func (c *converter) writeSection(w *writer, sec *settings.Section) {
	headed := sec.Name == ""
	for _, s := range sec.Settings {
		i := slices.IndexFunc(c.entries, func(e entry) bool { return e.key == s.Key })
		if i < 0 {
			continue
		}
		if !headed {
			w.line("\n[%s]", sec.Name)
			headed = true
		}
		w.entry(strings.TrimPrefix(s.Key, sec.Name+"."), &c.entries[i])
	}
}

// writeClosed writes the listeners that are not opened, as comments.
func (c *converter) writeClosed(w *writer) {
	for _, l := range c.used() {
		if len(l.access.closed) == 0 {
			continue
		}
		var places []string
		for i := range l.access.closed {
			if place := l.access.closed[i].Place(); !slices.Contains(places, place) {
				places = append(places, place)
			}
		}
		w.line("")
		w.line("# Not opened, because of %s:", printable(strings.Join(places, ", ")))
		w.line("# [[%s]]", settings.ListenerSection)
		w.line("# address = %s%s", quote(l.address(c.local)), origins(l.lines))
		for _, e := range l.own {
			w.line("# %s = %s%s", e.key, e.value, origins(e.from))
		}
	}
}

// writeFindings writes findings of some kinds.
func (c *converter) writeFindings(w *writer, title string, kinds ...Kind) {
	headed := false
	for i := range c.found {
		f := &c.found[i]
		if !slices.Contains(kinds, f.Kind) {
			continue
		}
		if !headed {
			w.line("\n# %s:", title)
			headed = true
		}
		w.line("#")
		for _, l := range append([]Line{f.Line}, f.With...) {
			w.line("# %s: %s", printable(l.Place()), l.String())
		}
		w.line("#     %s.", printable(f.Text))
	}
}
