package conf

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"midge/internal/settings"
)

// entry is a setting of the file that is made.
type entry struct {
	key   string
	value string // in TOML
	from  []Line // nil: from a default of Mosquitto
	note  string // "" or what a reader may wonder about
}

// without returns entries but for that of a key.
func without(entries []entry, key string) []entry {
	return slices.DeleteFunc(entries, func(e entry) bool { return e.key == key })
}

// table is the settings that there are, by key.
type table map[string]*settings.Setting

func newTable() table {
	t := table{}
	for _, s := range settings.All() {
		t[s.Key] = &s
	}
	return t
}

// quote is a text in TOML. Bytes that are no UTF-8 can't stand there.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		case r == utf8.RuneError:
			b.WriteString(`\uFFFD`)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// limit is n within the range of a setting, which counts in bytes or nanoseconds
// where it is a size or a duration.
func (t table) limit(key string, n int64) int64 {
	s := t[key]
	if n == 0 && s.Zero != "" {
		return 0
	}
	return min(max(n, s.Min), s.Max)
}

// number is n in TOML, in the unit of the setting.
func (t table) number(key string, n int64) string {
	switch t[key].At(&settings.Settings{}).(type) {
	case *settings.Size:
		return quote(settings.Size(n).String())
	case *time.Duration:
		return quote(duration(time.Duration(n)))
	}
	return strconv.FormatInt(n, 10)
}

// duration is d without parts that are zero.
func duration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// times is n times factor, or the largest number where that is larger.
func times(n, factor int64) int64 {
	if n > math.MaxInt64/factor {
		return math.MaxInt64
	}
	return n * factor
}

// atoi reads a number as Mosquitto does: what a text begins with, 0 without a
// digit.
func atoi(s string) int64 {
	s = strings.TrimLeft(s, " \t")
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || end == 0 && (s[0] == '-' || s[0] == '+')) {
		end++
	}
	n, err := strconv.ParseInt(cmp.Or(strings.TrimPrefix(s[:end], "+"), "0"), 10, 64)
	if err != nil && n == 0 {
		return 0 // a sign alone
	}
	return n // the largest or smallest if it is beyond
}
