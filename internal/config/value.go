package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"midge/internal/settings"
)

// Prefix begins the names of environment variables: limits.packet_size is
// MIDGE_LIMITS_PACKET_SIZE.
const Prefix = "MIDGE_"

// FileVariable is the environment variable that names the file.
const FileVariable = Prefix + "CONFIG"

// Variable is the name of the environment variable of a setting.
func Variable(key string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// setting is a setting that can be read and written as text.
type setting struct{ settings.Setting }

func all() (rows []setting) {
	for _, s := range settings.All() {
		rows = append(rows, setting{s})
	}
	return rows
}

// keys are those outside of listeners.
func keys() (names []string) {
	for _, s := range all() {
		if !s.ofListener() {
			names = append(names, s.Key)
		}
	}
	return names
}

// listenerKeys are those of a listener.
func listenerKeys() (names []string) {
	for _, s := range all() {
		if key := s.ListenerKey(); key != "" {
			names = append(names, key)
		}
	}
	return names
}

// ofListener reports whether only listeners have the setting.
func (s *setting) ofListener() bool { return strings.HasPrefix(s.Key, settings.ListenerSection+".") }

// kindName is what the reference page calls the kind of value.
func (s *setting) kindName() string {
	switch s.At(&settings.Settings{}).(type) {
	case *int:
		return "number"
	case *settings.Size:
		return "size"
	case *time.Duration:
		return "duration"
	case *[]string:
		return "list of texts"
	case *bool:
		return "switch"
	}
	if s.Words != nil {
		return "word"
	}
	return "text"
}

// set parses text and stores it in c.
func (s *setting) set(c *settings.Settings, text string) error {
	switch p := s.At(c).(type) {
	case *int:
		n, err := strconv.ParseInt(strings.TrimSpace(text), 0, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		if err := s.inRange(n); err != nil {
			return err
		}
		*p = int(n)
	case *settings.Size:
		n, err := settings.ParseSize(text)
		if err != nil {
			return err
		}
		if err := s.inRange(int64(n)); err != nil {
			return err
		}
		*p = n
	case *time.Duration:
		d, err := time.ParseDuration(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("%q is not a duration; write a number with a unit, such as \"500ms\", \"5s\" or \"24h\"", text)
		}
		if err := s.inRange(int64(d)); err != nil {
			return err
		}
		*p = d
	case *string:
		if s.Words != nil && !slices.Contains(s.Words, text) {
			return fmt.Errorf("%q is none of %s%s", text, strings.Join(s.Words, ", "), didYouMean(text, s.Words))
		}
		if err := s.check(text); err != nil {
			return err
		}
		*p = text
	case *[]string:
		return s.setList(c, strings.Split(text, ","))
	case *bool:
		switch strings.TrimSpace(text) {
		case "true":
			*p = true
		case "false":
			*p = false
		default:
			return fmt.Errorf("%q is neither true nor false", text)
		}
	}
	return nil
}

// setTexts parses what a flag or a variable has. Several are for a list only.
func (s *setting) setTexts(c *settings.Settings, texts []string) error {
	if len(texts) == 1 {
		return s.set(c, texts[0])
	}
	return s.setList(c, texts)
}

// setList stores a list; its entries are trimmed and empty ones are left out.
func (s *setting) setList(c *settings.Settings, texts []string) error {
	var list []string
	for _, t := range texts {
		if t = strings.TrimSpace(t); t == "" {
			continue
		}
		if err := s.check(t); err != nil {
			return err
		}
		list = append(list, t)
	}
	if len(list) == 0 && s.Zero == "" {
		return fmt.Errorf("the list is empty")
	}
	*s.At(c).(*[]string) = list
	return nil
}

// check is nil for a text that the setting takes.
func (s *setting) check(text string) error {
	if s.Check == nil || text == "" && s.Zero != "" {
		return nil
	}
	return s.Check(text)
}

func (s *setting) inRange(n int64) error {
	if n == 0 && s.Zero != "" || s.Min <= n && n <= s.Max {
		return nil
	}
	return fmt.Errorf("%s is outside %s", s.format(n), s.limits())
}

// limits is the range in words, such as "100ms to 5m0s".
func (s *setting) limits() string { return s.format(s.Min) + " to " + s.format(s.Max) }

// format writes a number in the unit of the setting.
func (s *setting) format(n int64) string {
	switch s.At(&settings.Settings{}).(type) {
	case *settings.Size:
		return settings.Size(n).String()
	case *time.Duration:
		return time.Duration(n).String()
	}
	return strconv.FormatInt(n, 10)
}

// hidden is written for a secret.
const hidden = "(hidden)"

// shown writes the value that c has as in a file, unless it is a secret.
func (s *setting) shown(c *settings.Settings) string {
	text := s.toml(c)
	switch {
	case !s.Secret, text == `""`, text == "[]":
		return text
	case text[0] == '[':
		return "[" + strconv.Quote(hidden) + "]"
	}
	return strconv.Quote(hidden)
}

// toml writes the value that c has as in a file.
func (s *setting) toml(c *settings.Settings) string {
	switch p := s.At(c).(type) {
	case *int:
		return strconv.Itoa(*p)
	case *settings.Size:
		return strconv.Quote(p.String())
	case *time.Duration:
		return strconv.Quote(p.String())
	case *string:
		return strconv.Quote(*p)
	case *[]string:
		quoted := make([]string, len(*p))
		for i, t := range *p {
			quoted[i] = strconv.Quote(t)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case *bool:
		return strconv.FormatBool(*p)
	}
	panic("config: a setting of an unknown type: " + s.Key)
}

// setEntry stores the value of an entry of a file, whose type must fit: a
// number in quotes is more often a mistake than meant.
func (s *setting) setEntry(c *settings.Settings, e *entry) error {
	text := ""
	if len(e.texts) == 1 {
		text = e.texts[0]
	}
	fits := false
	want := ""
	switch s.At(c).(type) {
	case *int:
		fits, want = e.kind == unstable.Integer, "a number without quotes"
	case *settings.Size:
		fits, want = e.kind == unstable.Integer || e.kind == unstable.String, `a size, such as "64KiB"`
	case *time.Duration:
		fits, want = e.kind == unstable.String, `a duration in quotes, such as "5s"`
	case *string:
		fits, want = e.kind == unstable.String, "a text in quotes"
	case *[]string:
		if e.kind == unstable.Array && !e.odd {
			return s.setList(c, e.texts)
		}
		want = `a list of texts, such as ["a", "b"]`
	case *bool:
		fits, want = e.kind == unstable.Bool, "true or false without quotes"
	}
	if !fits {
		return fmt.Errorf("this takes %s", want)
	}
	return s.set(c, text)
}
