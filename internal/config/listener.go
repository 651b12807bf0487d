package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"midge/internal/settings"
)

// Listener is a listener with all that holds for its connections.
type Listener struct {
	// Settings are the general ones, but for those that the listener has of its own.
	settings.Settings

	Addresses []Address // several only for a name that stands for several

	origins map[string]Origin // of what was set for it alone, by key in the listener
	listed  bool              // its address stands in `listen`
}

// Name is what the listener is called.
func (l *Listener) Name() string { return l.Listener.Name }

// Own returns what was set for the listener alone, by key in the listener: what only
// listeners have, and then the others, in the order of the reference page. It is nil for one
// of `listen`.
func (l *Listener) Own() (values []Value) {
	rows := all()
	slices.SortStableFunc(rows, func(a, b setting) int {
		switch {
		case a.ofListener() == b.ofListener():
			return 0
		case a.ofListener():
			return -1
		}
		return 1
	})
	for _, s := range rows {
		if o, ok := l.origins[s.ListenerKey()]; ok {
			values = append(values, Value{Key: s.ListenerKey(), TOML: s.shown(&l.Settings), Origin: o, Restart: s.Change == ""})
		}
	}
	return values
}

// Sets reports whether a setting was set for the listener alone. A key with a dot at its
// end stands for all in a section.
func (l *Listener) Sets(key string) bool {
	if !strings.HasSuffix(key, ".") {
		_, ok := l.origins[key]
		return ok
	}
	for k := range l.origins {
		if strings.HasPrefix(k, key) {
			return true
		}
	}
	return false
}

// origin is where the address of the listener is from, and what that is called.
func (l *Listener) origin(of *Loaded) (o Origin, key string) {
	if l.listed {
		return of.origins["listen"], "listen"
	}
	o = l.origins["address"]
	if o.Kind == FromFile {
		return o, shownIn(1, "address")
	}
	return o, settings.ListenerSection + "." + l.Name() + ".address"
}

// table is a listener as the sources describe it.
type table struct {
	name  string // "" if it has none
	begin Origin
	given []assignment
}

// assignment gives a setting of a listener a value.
type assignment struct {
	key    string // in the listener
	origin Origin
	shown  string // the key as faults name it
	set    func(*settings.Settings) error
}

// tables collects the listeners that have settings of their own.
type tables struct {
	list   []*table
	rows   map[string]*setting // by key in a listener
	faults *Faults
}

func newTables(faults *Faults) *tables {
	t := &tables{rows: map[string]*setting{}, faults: faults}
	for _, s := range all() {
		if key := s.ListenerKey(); key != "" {
			t.rows[key] = &s
		}
	}
	return t
}

// read takes the listeners of a file, which begin at the lines.
func (t *tables) read(origin func(line int) Origin, entries []entry, lines []int) {
	first := len(t.list)
	for _, line := range lines {
		t.list = append(t.list, &table{begin: origin(line)})
	}
	for _, e := range entries {
		if e.listener == 0 {
			continue
		}
		to, s := t.list[first+e.listener-1], t.rows[e.key]
		o, shown := origin(e.line), shownIn(e.listener, e.key)
		to.given = append(to.given, assignment{e.key, o, shown, func(c *settings.Settings) error { return s.setEntry(c, &e) }})
		if e.key != "name" || len(e.texts) != 1 {
			continue
		}
		if other := t.find(e.texts[0]); other != nil {
			t.faults.add(o, shown, "%q is the name of another one, at %v", e.texts[0], other.begin)
		}
		to.name = e.texts[0]
	}
}

// find returns the listener of a name, nil if there is none. Names that differ in
// their variables' names only are the same.
func (t *tables) find(name string) *table {
	i := slices.IndexFunc(t.list, func(l *table) bool { return l.name != "" && variablePart(l.name) == variablePart(name) })
	if i < 0 {
		return nil
	}
	return t.list[i]
}

// set gives a setting of the listener of a name a value. One that no file has begins
// here.
func (t *tables) set(name, key string, o Origin, values []string) {
	shown := strings.Join([]string{settings.ListenerSection, name, key}, ".")
	s, ok := t.rows[key]
	switch err := checkName(name); {
	case err != nil:
		t.faults.add(o, shown, "write %s.NAME.key=value; %v", settings.ListenerSection, err)
		return
	case !ok && slices.Contains(keys(), key):
		t.faults.add(o, shown, "%s is the same for all listeners", key)
		return
	case !ok:
		t.faults.add(o, strings.TrimSuffix(shown, "."), "unknown key of a listener%s", didYouMean(key, slices.Collect(maps.Keys(t.rows))))
		return
	case key == "name":
		t.faults.add(o, shown, "the name stands in the key already")
		return
	}
	to := t.find(name)
	if to == nil {
		to = &table{name: name, begin: o}
		t.list = append(t.list, to)
	}
	to.given = append(to.given, assignment{key, o, shown, func(c *settings.Settings) error { return s.setTexts(c, values) }})
}

func checkName(name string) error {
	if name == "" {
		return fmt.Errorf("the name is empty")
	}
	for _, s := range all() {
		if s.ListenerKey() == "name" {
			return s.check(name)
		}
	}
	return nil
}

// flag takes what begins with listener. from a flag.
func (t *tables) flag(g *Given) {
	name, key, _ := strings.Cut(strings.TrimPrefix(g.Key, settings.ListenerSection+"."), ".")
	t.set(name, key, Origin{Kind: FromFlag, Name: g.Flag}, g.Values)
}

// variablePart is how a part of a key stands in the name of a variable.
func variablePart(part string) string {
	return strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(part))
}

// variable takes a variable of the environment, and reports whether it names a setting
// of a listener.
func (t *tables) variable(name, text string) bool {
	rest, ok := strings.CutPrefix(name, Variable(settings.ListenerSection)+"_")
	if !ok {
		return false
	}
	best := ""
	for key := range t.rows {
		if strings.HasSuffix(rest, "_"+variablePart(key)) && len(key) > len(best) {
			best = key
		}
	}
	if best == "" || best == "name" {
		return false
	}
	listener := strings.ToLower(strings.TrimSuffix(rest, "_"+variablePart(best)))
	if l := t.find(listener); l != nil {
		listener = l.name
	}
	t.set(listener, best, Origin{Kind: FromEnvironment, Name: name}, []string{text})
	return true
}

// make makes the listener of a table. general are the settings outside of
// listeners.
func (t *tables) make(from *table, general *settings.Settings) *Listener {
	l := &Listener{Settings: *general, origins: map[string]Origin{}}
	for _, a := range from.given {
		if err := a.set(&l.Settings); err != nil {
			t.faults.add(a.origin, a.shown, "%v", err)
		}
		l.origins[a.key] = a.origin
	}
	if from.name != "" {
		l.Listener.Name = from.name
		if _, given := l.origins["name"]; !given { // by a flag or a variable
			l.origins["name"] = from.begin
		}
	}
	if l.origins["address"].Kind == FromDefault {
		var names []string
		for _, other := range t.list {
			if other != from {
				names = append(names, other.name)
			}
		}
		t.faults.add(from.begin, settings.ListenerSection, "%s has no address%s", strings.TrimSpace("the listener "+from.name), didYouMean(from.name, names))
		return nil
	}
	return l
}

// makeListeners makes the listeners of `listen` and of the tables.
func (l *Loaded) makeListeners(t *tables) {
	listen := l.origins["listen"]
	if listen.Kind == FromDefault && len(t.list) > 0 {
		l.Listen = nil
		l.origins["listen"] = t.list[0].begin
	}
	if l.secured.Kind != FromDefault {
		l.secureListen()
	}
	for _, text := range l.Listen {
		one := Listener{Settings: l.Settings, listed: true}
		one.Listener.Name, one.Listener.Address = text, text
		l.Listeners = append(l.Listeners, one)
	}
	for _, from := range t.list {
		one := t.make(from, &l.Settings)
		if one == nil {
			continue
		}
		if o := one.origins["address"]; o.Kind < listen.Kind {
			l.Warnings = append(l.Warnings, fmt.Sprintf("%v replaces the listener at %v", listen, o))
			continue
		}
		if one.Listener.Name == "" {
			one.Listener.Name = one.Listener.Address
		}
		l.Listeners = append(l.Listeners, *one)
	}
	l.checkListeners(t.faults)
}

// secureListen has the addresses of `listen` speak TLS that would not speak anything but MQTT.
func (l *Loaded) secureListen() {
	changed := false
	for i, text := range l.Listen {
		if a, err := address(text); err == nil && a.Scheme == "tcp" {
			l.Listen[i], changed = "tls://"+a.Target(), true
		}
	}
	if o := l.origins["listen"]; changed {
		l.origins["listen"] = Origin{Kind: o.Kind, Name: fmt.Sprintf("%v and %v", o, l.secured)}
	}
}

// checkListeners reads the addresses, and checks what holds for all listeners
// together.
func (l *Loaded) checkListeners(faults *Faults) {
	var places []*Address
	var owners []*Listener
	for i := range l.Listeners {
		one := &l.Listeners[i]
		a, err := address(one.Listener.Address)
		if err != nil {
			o, key := one.origin(l)
			faults.add(o, key, "%v", err)
			continue
		}
		one.Addresses = a.spread()
		for j := range one.Addresses {
			places, owners = append(places, &one.Addresses[j]), append(owners, one)
		}
	}
	separate(places)
	if which, err := checkTwice(places); err != nil {
		o, key := owners[which].origin(l)
		faults.add(o, key, "%v", err)
		return
	}
	if len(l.Listeners) == 0 && len(*faults) == 0 {
		faults.add(l.origins["listen"], "listen", "there is no listener")
	}
	l.checkOpen(faults)
}

// open reports whether other machines may get to the listener. Whoever lets a proxy in
// front of it wants them to.
func (l *Listener) open() bool {
	return len(l.Listener.ProxyProtocol) > 0 || slices.ContainsFunc(l.Addresses, func(a Address) bool { return !a.Loopback() })
}

// checkOpen refuses to let everybody in whom nobody has asked for.
func (l *Loaded) checkOpen(faults *Faults) {
	const open = "%s: other machines could connect, and nobody is asked for a password; set auth.password_file or, if that is meant, write allow_anonymous = true in the file, or --set %s=true"
	var listed []string
	for i := range l.Listeners {
		one := &l.Listeners[i]
		switch {
		case one.AllowAnonymous || one.Asks() || !one.open():
		case one.listed:
			listed = append(listed, one.Listener.Address)
		default:
			o, key := one.origin(l)
			flag := "allow_anonymous"
			if checkName(one.Name()) == nil {
				flag = strings.Join([]string{settings.ListenerSection, one.Name(), flag}, ".")
			}
			faults.add(o, key, open, one.Listener.Address, flag)
		}
	}
	if len(listed) > 0 {
		faults.add(l.origins["listen"], "listen", open, strings.Join(listed, ", "), "allow_anonymous")
	}
}
