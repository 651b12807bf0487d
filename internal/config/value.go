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

// setting is a setting that can be read and written as text.
type setting struct{ settings.Setting }

func all() (rows []setting) {
	for _, s := range settings.All() {
		rows = append(rows, setting{s})
	}
	return rows
}

func keys() (names []string) {
	for _, s := range all() {
		names = append(names, s.Key)
	}
	return names
}

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

// setList stores a list; its entries are trimmed and empty ones are left out.
func (s *setting) setList(c *settings.Settings, texts []string) error {
	var list []string
	for _, t := range texts {
		if t = strings.TrimSpace(t); t != "" {
			list = append(list, t)
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("the list is empty")
	}
	*s.At(c).(*[]string) = list
	return nil
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
