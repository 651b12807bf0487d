package pubsub

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ncruces/go-strftime"

	"midge/internal/client"
)

// Format writes messages as a format string of mosquitto_sub says.
type Format struct {
	pieces []piece
	Pretty bool // JSON over several lines
}

// piece writes a part of a message. An error is told to the user, and the
// message is left out.
type piece func(b []byte, m client.Message, at time.Time) ([]byte, error)

// Formats of the flags.
const (
	PayloadOnly = "%p"
	Verbose     = "%t %p"
	JSON        = "%j"
)

// ParseFormat reads a format string: %, @ and \ begin sequences, all else
// stands for itself.
func ParseFormat(text string) (*Format, error) {
	f := &Format{}
	for text != "" {
		i := strings.IndexAny(text, `%@\`)
		if i < 0 {
			i = len(text)
		}
		if i > 0 {
			f.literal(text[:i])
			text = text[i:]
			continue
		}
		used, err := f.sequence(text)
		if err != nil {
			return nil, fmt.Errorf("format %s: %w", text, err)
		}
		text = text[used:]
	}
	return f, nil
}

// Append appends a message to b.
func (f *Format) Append(b []byte, m client.Message, at time.Time) (_ []byte, err error) {
	for _, write := range f.pieces {
		if b, err = write(b, m, at); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (f *Format) literal(s string) {
	f.add(func(b []byte, _ client.Message, _ time.Time) ([]byte, error) { return append(b, s...), nil })
}

func (f *Format) add(p piece) { f.pieces = append(f.pieces, p) }

// sequence reads what begins with one of the three characters.
func (f *Format) sequence(text string) (used int, err error) {
	if len(text) == 1 {
		return 0, fmt.Errorf("it ends with %s", text)
	}
	switch text[0] {
	case '\\':
		return 2, f.escape(text[1])
	case '@':
		return 2, f.clock(text[1])
	}
	w, used := readWidth(text[1:])
	if 1+used == len(text) {
		return 0, fmt.Errorf("it ends within %s", text)
	}
	return 2 + used, f.parameter(text[1+used], w)
}

func (f *Format) escape(c byte) error {
	const escapes, values = `\0aenrtv`, "\\\x00\a\x1b\n\r\t\v"
	i := strings.IndexByte(escapes, c)
	if i < 0 {
		return fmt.Errorf(`\%c is none of \\ \0 \a \e \n \r \t \v`, c)
	}
	f.literal(values[i : i+1])
	return nil
}

// clock is one character of strftime, or N.
func (f *Format) clock(c byte) error {
	switch {
	case c == '@':
		f.literal("@")
	case c == 'N':
		f.add(func(b []byte, _ client.Message, at time.Time) ([]byte, error) {
			return fmt.Appendf(b, "%09d", at.Nanosecond()), nil
		})
	case strings.IndexByte("aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ", c) < 0:
		return fmt.Errorf("@%c is unknown", c)
	default:
		f.add(func(b []byte, _ client.Message, at time.Time) ([]byte, error) {
			return strftime.AppendFormat(b, "%"+string(c), at), nil
		})
	}
	return nil
}

// width is how a value is padded and cut.
type width struct {
	left, zero bool
	min        int
	max        int // -1 for no limit
}

// readWidth reads flags, width and precision.
func readWidth(text string) (w width, used int) {
	for ; used < len(text) && (text[used] == '-' || text[used] == '0'); used++ {
		w.left = w.left || text[used] == '-'
		w.zero = w.zero || text[used] == '0'
	}
	number := func() (n int) {
		for ; used < len(text) && text[used] >= '0' && text[used] <= '9'; used++ {
			n = min(10*n+int(text[used]-'0'), 10000)
		}
		return n
	}
	w.min, w.max = number(), -1
	if used < len(text) && text[used] == '.' {
		used++
		w.max = number()
	}
	return w, used
}

// apply pads and cuts, counting characters.
func (w width) apply(b []byte, s string, numeric bool) []byte {
	runes := []rune(s)
	if w.max >= 0 && !numeric && len(runes) > w.max {
		runes = runes[:w.max]
		s = string(runes)
	}
	missing := max(w.min-len(runes), 0)
	switch {
	case w.left:
		return append(append(b, s...), strings.Repeat(" ", missing)...)
	case w.zero && numeric:
		return append(append(b, strings.Repeat("0", missing)...), s...)
	}
	return append(append(b, strings.Repeat(" ", missing)...), s...)
}

// parameter is a letter after %.
func (f *Format) parameter(c byte, w width) error {
	switch c {
	case '%':
		f.literal("%")
	case 'j', 'J':
		f.add(func(b []byte, m client.Message, at time.Time) ([]byte, error) {
			text, ok := jsonOf(m, at, c == 'J', f.Pretty)
			if !ok {
				return nil, fmt.Errorf("the payload is not JSON, topic %s", m.Topic)
			}
			return append(b, text...), nil
		})
	case 'p':
		f.add(func(b []byte, m client.Message, _ time.Time) ([]byte, error) {
			if w.min == 0 {
				return append(b, m.Payload...), nil
			}
			return w.apply(b, string(m.Payload), false), nil
		})
	default:
		value, numeric := text(c)
		if value == nil {
			return fmt.Errorf("%%%c is none of %%A %%C %%D %%E %%F %%I %%j %%J %%l %%m %%p %%P %%q %%r %%R %%S %%t %%U %%x %%X %%%%", c)
		}
		f.add(func(b []byte, m client.Message, at time.Time) ([]byte, error) {
			return w.apply(b, value(m, at), numeric), nil
		})
	}
	return nil
}

// text returns what a parameter stands for, and whether 0 may pad it. Absent
// properties are empty.
func text(c byte) (value func(m client.Message, at time.Time) string, numeric bool) {
	of := func(value func(m client.Message) string) func(client.Message, time.Time) string {
		return func(m client.Message, _ time.Time) string { return value(m) }
	}
	switch c {
	case 'A':
		return of(func(m client.Message) string { return optional(m.TopicAlias) }), true
	case 'C':
		return of(func(m client.Message) string { return m.ContentType }), false
	case 'D':
		return of(func(m client.Message) string { return string(m.CorrelationData) }), false
	case 'E':
		return of(func(m client.Message) string { return pointed(m.Expiry) }), true
	case 'F':
		return of(func(m client.Message) string { return pointed(m.PayloadFormat) }), true
	case 'I':
		return func(_ client.Message, at time.Time) string { return at.Format("2006-01-02T15:04:05-0700") }, false
	case 'l':
		return of(func(m client.Message) string { return strconv.Itoa(len(m.Payload)) }), true
	case 'm':
		return of(func(m client.Message) string { return strconv.Itoa(int(m.PacketID)) }), true
	case 'P':
		return of(userText), false
	case 'q':
		return of(func(m client.Message) string { return strconv.Itoa(int(m.QoS)) }), true
	case 'R':
		return of(func(m client.Message) string { return m.ResponseTopic }), false
	case 'r':
		return of(func(m client.Message) string { return strconv.Itoa(flag(m.Retain)) }), true
	case 'S':
		return of(subscriptionText), true
	case 't':
		return of(func(m client.Message) string { return m.Topic }), false
	case 'U':
		return func(_ client.Message, at time.Time) string { return fmt.Sprintf("%d.%09d", at.Unix(), at.Nanosecond()) }, false
	case 'x':
		return of(func(m client.Message) string { return fmt.Sprintf("%x", m.Payload) }), true
	case 'X':
		return of(func(m client.Message) string { return fmt.Sprintf("%X", m.Payload) }), true
	}
	return nil, false
}

func optional(n uint16) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(int(n))
}

func pointed[T uint8 | uint32](n *T) string {
	if n == nil {
		return ""
	}
	return strconv.FormatUint(uint64(*n), 10)
}

func userText(m client.Message) string {
	var all []string
	for _, u := range m.UserProperties {
		all = append(all, u.Key+":"+u.Value)
	}
	return strings.Join(all, " ")
}

func subscriptionText(m client.Message) string {
	var all []string
	for _, id := range m.SubscriptionIDs {
		all = append(all, strconv.FormatUint(uint64(id), 10))
	}
	return strings.Join(all, " ")
}
