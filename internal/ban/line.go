package ban

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxReason is how long a reason may be, in bytes: it goes into CONNACK. Guess.
const maxReason = 1000

// Line writes a ban as a file has it.
func (b *Ban) Line() string {
	line := string(b.Kind) + " " + quoted(b.Value)
	if !b.Until.IsZero() {
		line += " until=" + b.Until.UTC().Format(time.RFC3339)
	}
	if b.Reason != "" {
		line += " reason=" + strconv.Quote(b.Reason)
	}
	return line
}

// quoted puts a text in quotes if a word can't be it.
func quoted(text string) string {
	odd := func(r rune) bool { return r == '"' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if text == "" || text[0] == '#' || strings.ContainsFunc(text, odd) {
		return strconv.Quote(text)
	}
	return text
}

// ParseLine reads a line. ok is false for one that is empty or a comment.
func ParseLine(line string) (b Ban, ok bool, err error) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return b, false, nil
	}
	kind, line, err := word(line)
	if err != nil {
		return b, false, err
	}
	value, line, err := word(line)
	if err != nil {
		return b, false, err
	}
	if b, err = New(Kind(kind), value); err != nil {
		return b, false, err
	}
	for line != "" {
		key, rest, ok := strings.Cut(line, "=")
		if !ok {
			return b, false, fmt.Errorf("%.40q: behind %s and its name there may be until=TIME and reason=\"TEXT\"", line, b.Kind)
		}
		var text string
		if text, line, err = word(rest); err != nil {
			return b, false, err
		}
		switch key {
		case "until":
			if b.Until, err = time.Parse(time.RFC3339, text); err != nil {
				return b, false, fmt.Errorf("until=%.40s: write a time such as 2026-12-01T15:04:05Z", text)
			}
		case "reason":
			if err = b.SetReason(text); err != nil {
				return b, false, err
			}
		default:
			return b, false, fmt.Errorf("%.40q: there is until=TIME and reason=\"TEXT\"", key+"=")
		}
	}
	return b, true, nil
}

// SetReason gives a ban its reason, which the client may get.
func (b *Ban) SetReason(text string) error {
	if len(text) > maxReason || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("a reason has %d bytes of text at most, on one line", maxReason)
	}
	b.Reason = text
	return nil
}

// word takes the first word of a line, which may be in quotes as in Go.
func word(line string) (text, rest string, err error) {
	if strings.HasPrefix(line, `"`) {
		in, err := strconv.QuotedPrefix(line)
		if err != nil {
			return "", "", errors.New("a text in quotes has no end, or a backslash too many")
		}
		if text, err = strconv.Unquote(in); err != nil {
			return "", "", err
		}
		rest = line[len(in):]
		if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
			return "", "", fmt.Errorf("there must be a blank behind %.40q", text)
		}
	} else {
		end := strings.IndexAny(line, " \t")
		if end < 0 {
			end = len(line)
		}
		text, rest = line[:end], line[end:]
	}
	return text, strings.TrimLeft(rest, " \t"), nil
}
