package shell

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// word is one word of a line.
type word struct {
	text   string // without quotes and escapes
	quoted bool   // it begins with a quote: it is text, never an option, a file or a name
	at     int    // byte at which it begins in the line
}

// An unclosedError reports a line that ends within quotes.
type unclosedError struct {
	quote byte
	at    int // byte of the quote
}

func (e *unclosedError) Error() string {
	return fmt.Sprintf("the quote %c in column %d isn't closed", e.quote, e.at+1)
}

// split cuts a line into words at spaces and tabs.
//
//   - 'single quotes' keep everything as it is.
//   - "double quotes" know the escapes of a Go string: \n \t \" \\ \x1b \u00e9.
//   - A backslash outside quotes takes the meaning from the next character.
//   - A line whose first character is # is a comment. Elsewhere # is the
//     wildcard of MQTT.
//
// Of a line that ends within quotes it returns the words so far, the open one
// as the last, and an unclosedError: completion needs them.
func split(line string) ([]word, error) {
	var words []word
	for i := 0; ; {
		for i < len(line) && blank(line[i]) {
			i++
		}
		if i == len(line) || line[i] == '#' && len(words) == 0 {
			return words, nil
		}
		w, end, err := scan(line, i)
		words = append(words, w)
		if err != nil {
			return words, err
		}
		i = end
	}
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// scan reads the word that begins at byte i, and returns the byte after it.
func scan(line string, i int) (w word, end int, err error) {
	w = word{quoted: line[i] == '\'' || line[i] == '"', at: i}
	var text strings.Builder
	for err == nil && i < len(line) && !blank(line[i]) {
		switch c := line[i]; c {
		case '\'':
			i, err = single(&text, line, i)
		case '"':
			i, err = double(&text, line, i)
		case '\\':
			if i+1 == len(line) {
				err = fmt.Errorf("the backslash at the end of the line has nothing to escape")
				break
			}
			_, size := utf8.DecodeRuneInString(line[i+1:])
			text.WriteString(line[i+1 : i+1+size])
			i += 1 + size
		default:
			text.WriteByte(c)
			i++
		}
	}
	w.text = text.String()
	return w, i, err
}

// single reads what stands in single quotes, the first of which is byte i.
func single(text *strings.Builder, line string, i int) (end int, err error) {
	inner, _, closed := strings.Cut(line[i+1:], "'")
	text.WriteString(inner)
	if !closed {
		return len(line), &unclosedError{'\'', i}
	}
	return i + 1 + len(inner) + 1, nil
}

// double reads what stands in double quotes, the first of which is byte i.
func double(text *strings.Builder, line string, i int) (end int, err error) {
	start := i
	for i++; i < len(line); {
		switch line[i] {
		case '"':
			return i + 1, nil
		case '\\':
			if i+1 == len(line) {
				return len(line), &unclosedError{'"', start}
			}
			value, multibyte, rest, err := strconv.UnquoteChar(line[i:], '"')
			if err != nil {
				_, size := utf8.DecodeRuneInString(line[i+1:])
				return len(line), fmt.Errorf(`unknown escape %s in column %d; double quotes know \n \t \r \" \\ \xhh and \uhhhh, single quotes keep all as it is`, line[i:i+1+size], i+1)
			}
			if multibyte {
				text.WriteRune(value)
			} else {
				text.WriteByte(byte(value))
			}
			i = len(line) - len(rest)
		default:
			text.WriteByte(line[i])
			i++
		}
	}
	return len(line), &unclosedError{'"', start}
}

// plain reports whether s is a word of its own without quotes.
func plain(s string) bool {
	return s != "" && s[0] != '#' && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == '\'' || r == '"' || r == '\\' || r == 0x7f || r == utf8.RuneError
	})
}

// quote writes s so that split reads it as one word.
func quote(s string) string {
	switch {
	case plain(s):
		return s
	case !strings.Contains(s, "'") && utf8.ValidString(s) && !strings.ContainsFunc(s, control):
		return "'" + s + "'"
	}
	return strconv.Quote(s)
}

// control reports whether a terminal could take r for a command, or not show it.
func control(r rune) bool { return !strconv.IsPrint(r) }
