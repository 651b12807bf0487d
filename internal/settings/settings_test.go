package settings

import (
	"fmt"
	"strings"
	"testing"
)

// TestTable proves that the table is whole: names that lead to a section, a
// reason for each default, and no field that two settings share.
func TestTable(t *testing.T) {
	seen := map[any]string{}
	var c Settings
	for _, sec := range Table() {
		for _, s := range sec.Settings {
			if sec.Name != "" && !strings.HasPrefix(s.Key, sec.Name+".") {
				t.Errorf("%s stands in section %q", s.Key, sec.Name)
			}
			if s.Doc == "" || s.Reason == "" {
				t.Errorf("%s has no doc or no reason", s.Key)
			}
			if s.Max > 0 && s.Min >= s.Max {
				t.Errorf("%s: a range from %d to %d", s.Key, s.Min, s.Max)
			}
			if other, taken := seen[s.At(&c)]; taken {
				t.Errorf("%s and %s set the same field", s.Key, other)
			}
			seen[s.At(&c)] = s.Key
		}
	}
}

// TestMaxConnections proves that the text which has the number is right.
func TestMaxConnections(t *testing.T) {
	for _, s := range All() {
		if s.Key == "limits.connections" && !strings.Contains(strings.ReplaceAll(s.Zero, ",", ""), fmt.Sprintf(" %d ", MaxConnections)) {
			t.Errorf("0 means %q, which should have %d", s.Zero, MaxConnections)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "4096": 4096, "1B": 1, "64KiB": 65536, "1 MiB": 1 << 20, "2GiB": 2 << 30, "1kB": 1000, "3MB": 3e6, "1_000": 1000,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", got.String(), again, err, got)
		}
	}
	for _, text := range []string{"", "B", "-1", "1.5MiB", "1 mib", "9223372036854775807KiB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}
