package topic

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// simpleFilter is section 4.7 without regard to speed.
func simpleFilter(s string) bool {
	if s == "" || len(s) > 65535 || strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
		return false
	}
	levels := strings.Split(s, "/")
	for i, level := range levels {
		last := i == len(levels)-1
		if strings.Contains(level, "#") && (level != "#" || !last) || strings.Contains(level, "+") && level != "+" {
			return false
		}
	}
	return true
}

func FuzzFilter(f *testing.F) {
	for _, c := range matches {
		f.Add(c.filter)
	}
	for _, s := range []string{"", "a#", "+a", "#/", "\x00", "\xff", "$share/g/a", "$share//", strings.Repeat("/", 200)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := simpleFilter(s)
		if err := ValidFilter(s, Limits{}); (err == nil) != want {
			t.Errorf("ValidFilter(%q) = %v, want valid %v", s, err, want)
		}
		name := want && !strings.ContainsAny(s, "+#")
		if err := ValidName([]byte(s), Limits{}); (err == nil) != name {
			t.Errorf("ValidName(%q) = %v, want valid %v", s, err, name)
		}
		group, inner, shared, err := ParseShared(s)
		if shared && err == nil && "$share/"+group+"/"+inner != s || !shared && inner != s {
			t.Errorf("ParseShared(%q) = %q, %q, %v", s, group, inner, shared)
		}
	})
}

func FuzzTree(f *testing.F) {
	for _, c := range matches {
		f.Add(c.filter+"\n+/#\na", c.topic)
	}
	f.Fuzz(func(t *testing.T, filters, name string) {
		if ValidName([]byte(name), Limits{Levels: 128}) != nil {
			return
		}
		var tree Tree[*entry]
		var names Names[int]
		names.Set([]byte(name), 1)
		var all []*entry
		for _, filter := range strings.Split(filters, "\n") {
			if ValidFilter(filter, Limits{Levels: 128}) != nil {
				continue
			}
			e := &entry{filter: filter}
			e.ref = tree.Add(filter, e)
			all = append(all, e)
			checkWalk(t, &names, map[string]int{name: 1}, filter)
		}
		checkMatch(t, &tree, all, name)
		for len(all) > 0 {
			tree.Remove(all[0].ref)
			all = all[1:]
			checkMatch(t, &tree, all, name)
		}
		if tree.nodes.live != 0 {
			t.Errorf("the empty tree keeps %d nodes", tree.nodes.live)
		}
	})
}
