package config

import (
	"fmt"

	"midge/internal/settings"
)

// Change is a setting that differs between two configurations, or a listener that only one of
// them has.
type Change struct {
	Key      string
	From, To string // as in a file, secrets hidden; "" for a listener that is not there
	Restart  bool   // it does not hold before a restart
}

// Follow returns what holds when a broker that runs with l is given next, and how that
// differs from l: what can't change while it runs stays as it is.
func (l *Loaded) Follow(next *Loaded) (*Loaded, []Change) {
	now := *next
	now.Listeners = nil
	changes := follow(&now.Settings, &l.Settings, func(s *setting) string {
		if s.ofListener() {
			return ""
		}
		return s.Key
	})
	for i := range l.Listeners {
		if old := &l.Listeners[i]; next.listener(old.Name()) == nil {
			changes = append(changes, Change{Key: settings.ListenerSection + "." + old.Name(), From: old.Listener.Address})
		}
	}
	for i := range next.Listeners {
		one := next.Listeners[i]
		prefix := settings.ListenerSection + "." + one.Name()
		if old := l.listener(one.Name()); old != nil {
			changes = append(changes, follow(&one.Settings, &old.Settings, func(s *setting) string {
				key := s.ListenerKey()
				if key == "" || !old.Sets(key) && !one.Sets(key) {
					return ""
				}
				return prefix + "." + key
			})...)
		} else {
			changes = append(changes, Change{Key: prefix, To: one.Listener.Address})
		}
		for _, s := range all() {
			if s.Change == "" && !s.ofListener() && !one.Sets(s.Key) {
				s.Copy(&one.Settings, &now.Settings) // what needs a restart
			}
		}
		now.Listeners = append(now.Listeners, one)
	}
	return &now, changes
}

// listener returns the listener of a name, nil if there is none.
func (l *Loaded) listener(name string) *Listener {
	for i := range l.Listeners {
		if l.Listeners[i].Name() == name {
			return &l.Listeners[i]
		}
	}
	return nil
}

// follow returns how next differs from what is in force, and leaves in next what can
// change. name is what a setting is called; "" leaves it out.
func follow(next, inForce *settings.Settings, name func(*setting) string) (changes []Change) {
	for _, s := range all() {
		key := name(&s)
		if key == "" || s.toml(next) == s.toml(inForce) {
			continue
		}
		changes = append(changes, Change{key, s.shown(inForce), s.shown(next), s.Change == ""})
		if s.Change == "" {
			s.Copy(next, inForce)
		}
	}
	return changes
}

// String is such as limits.packet_size: "1MiB" is now "2MiB".
func (c *Change) String() string {
	text := fmt.Sprintf("%s: %s is now %s", c.Key, c.From, c.To)
	switch {
	case c.From == "":
		text = c.Key + " is new: " + c.To
	case c.To == "":
		text = c.Key + " is gone"
	}
	if c.Restart {
		text += "; it needs a restart, and stays as it is until then"
	}
	return text
}
