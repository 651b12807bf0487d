package conf

import (
	"slices"
	"strings"
)

// Converted is what a file of Mosquitto means here.
type Converted struct {
	// TOML is a file of this broker. Behind each setting stands the line that it
	// comes from; what did not become a setting stands below, as comments.
	TOML []byte

	// From has the line of Mosquitto's file from which a line of TOML is made, by
	// the number of that.
	From map[int]Line

	Findings []Finding // in the order of the lines

	// Persisted is the file in which Mosquitto keeps its state, "" if it keeps none.
	Persisted string
}

// Worst is the kind of the finding that matters most, 0 without any.
func (d *Converted) Worst() (worst Kind) {
	for i := range d.Findings {
		worst = max(worst, d.Findings[i].Kind)
	}
	return worst
}

// Convert converts files that were read.
func Convert(f *Files) *Converted {
	c := &converter{
		options: options(), table: newTable(), found: slices.Clone(f.found), local: true,
		listeners: []*listener{{scheme: "tcp"}},
	}
	main := position{current: c.listeners[0]}
	for _, p := range f.parts {
		if c.position = &main; !p.main {
			c.position = &position{current: c.listeners[0]}
		}
		for i := range p.lines {
			c.line(&p.lines[i])
		}
	}
	c.admit()
	c.packets()
	c.keeping()
	c.logLevel()
	if c.queueFull != nil {
		c.add(entry{"session.queue_full", quote("refuse-new"), c.queueFull, "So does a full queue of Mosquitto"})
	}
	order(f, c.found)
	c.passedOver(f)
	w := c.write(f.Name)
	return &Converted{TOML: w.text, From: w.from, Findings: c.found, Persisted: c.persisted()}
}

// passedOver tells of the lines of which nothing became: of an option that stands
// twice, the last one counts.
func (c *converter) passedOver(f *Files) {
	counts := map[Line]bool{}
	add := func(lines ...Line) {
		for _, l := range lines {
			counts[l] = true
		}
	}
	for _, e := range c.entries {
		add(e.from...)
	}
	for _, l := range c.listeners {
		add(l.lines...)
		for _, e := range l.own {
			add(e.from...)
		}
	}
	for _, found := range c.found {
		add(found.Line)
		add(found.With...)
	}
	for _, p := range f.parts {
		for i := range p.lines {
			if !counts[p.lines[i]] {
				c.find(&p.lines[i], Same, "another line has the last word on it")
			}
		}
	}
}

// order sorts findings as the lines stand in the files: some were made late.
func order(f *Files, found []Finding) {
	rank := map[string]int{}
	for _, p := range f.parts {
		if _, known := rank[p.file]; !known {
			rank[p.file] = len(rank)
		}
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		if a.Line.File != b.Line.File {
			return rank[a.Line.File] - rank[b.Line.File]
		}
		return a.Line.Number - b.Line.Number
	})
}

// line takes one line.
func (c *converter) line(l *Line) {
	o, known := c.options[l.Option]
	if !known && (strings.HasPrefix(l.Option, "auth_opt_") || strings.HasPrefix(l.Option, "plugin_opt_")) {
		o, known = option{read: anything, take: (*converter).pluginOption}, true
	}
	switch {
	case !known:
		c.find(l, Fault, "Mosquitto has no such option")
		return
	case l.Value == "":
		c.find(l, Fault, "the value is missing")
		return
	}
	if fault := o.read(l.Value); fault != "" {
		c.find(l, Fault, fault)
		return
	}
	if o.scope == ofListener && c.current.touched == nil {
		c.current.touched = l
	}
	switch {
	case o.take != nil:
		o.take(c, l)
	case asksFor(l, o.but):
		c.find(l, Same, "that is so anyway")
	default:
		c.find(l, o.kind, o.text)
		if o.kind == Blocking {
			a := c.access(o.scope)
			a.closed = append(a.closed, *l)
		}
	}
}

// options are all of Mosquitto up to 2.1, by name, but those whose names anybody
// can make up (auth_opt_ and plugin_opt_).
func options() map[string]option {
	all := map[string]option{}
	for _, some := range []map[string]option{general(), logging(), persistence(), accessControl(), listening(), transport(), bridges()} {
		for name, o := range some {
			all[name] = o
		}
	}
	return all
}
