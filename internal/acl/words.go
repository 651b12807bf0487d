package acl

import (
	"errors"
	"fmt"
	"strings"

	"midge/internal/topic"
)

// word is a part of a line: text without quotes, or key=text.
type word struct {
	key    string // "" if there is none
	text   string
	quoted bool
}

// words cuts a line at blanks. A text in double quotes may have blanks in it, and
// has no end but the next quote.
func words(line string) (all []word, err error) {
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			return all, nil
		}
		var w word
		if end := strings.IndexAny(line, "= \t\""); end > 0 && line[end] == '=' && isKey(line[:end]) {
			w.key, line = line[:end], line[end+1:]
		}
		if strings.HasPrefix(line, `"`) {
			text, rest, ok := strings.Cut(line[1:], `"`)
			if !ok {
				return nil, errors.New("a quote is open at the end of the line")
			}
			if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
				return nil, fmt.Errorf("there must be a blank behind %q", text)
			}
			w.text, w.quoted, line = text, true, rest
		} else {
			end := strings.IndexAny(line, " \t")
			if end < 0 {
				end = len(line)
			}
			w.text, line = line[:end], line[end:]
		}
		all = append(all, w)
	}
}

// keys are those of the words of a rule.
var keys = []string{"user", "group", "client", "listener", "qos", "retain"}

func isKey(s string) bool {
	for _, r := range s {
		if r < 'a' || r > 'z' {
			return false
		}
	}
	return s != ""
}

// checkFilter reports what is wrong with a topic filter, in which variables may
// stand.
func checkFilter(filter string) error {
	if strings.HasPrefix(filter, "$share/") {
		return fmt.Errorf("%q: of a shared subscription only the filter behind the group's name counts", shorten(filter))
	}
	if err := topic.ValidFilter(filter, topic.Limits{}); err != nil {
		return fmt.Errorf("%q is not a topic filter: %w", shorten(filter), err)
	}
	return nil
}

// shorten keeps an error readable, whatever is in the file.
func shorten(s string) string {
	if len(s) > 40 {
		s = s[:40] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
