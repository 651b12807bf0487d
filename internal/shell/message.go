package shell

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"midge/internal/client"
	"midge/internal/packet"
)

// look is how messages are shown.
type look struct {
	payload string // text, hex, base64 or none
	limit   int    // bytes of a payload that are shown
	time    bool   // each message begins with the time
	color   bool
}

// message writes what a client received, in whole lines without any character
// that a terminal could take for a command.
func (l look) message(name string, m *client.Message, now time.Time) string {
	var b strings.Builder
	if l.time {
		b.WriteString(now.Format("15:04:05.000 "))
	}
	head := fmt.Sprintf("%s < %s", printable(name), printable(m.Topic))
	if l.color {
		head = "\x1b[36m" + head + "\x1b[0m"
	}
	fmt.Fprintf(&b, "%s (%s)", head, strings.Join(traits(m), ", "))
	l.writePayload(&b, m.Payload)
	return b.String()
}

// fault writes an error, which may have several lines.
func (l look) fault(err error) string {
	var b strings.Builder
	for line := range strings.Lines(err.Error()) {
		line = printable(strings.TrimSuffix(line, "\n"))
		if l.color {
			line = "\x1b[31m" + line + "\x1b[0m"
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// printable is s with what a terminal can't show written as escapes.
func printable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, control) {
		return s
	}
	return strconv.Quote(s)
}

// traits are QoS, flags and properties of a message.
func traits(m *client.Message) []string {
	all := []string{fmt.Sprintf("QoS %d", m.QoS)}
	add := func(there bool, format string, args ...any) {
		if there {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(m.Retain, "retain")
	add(m.Dup, "dup")
	if m.Expiry != nil {
		add(true, "expiry %d s", *m.Expiry)
	}
	add(m.PayloadFormat != nil && *m.PayloadFormat == 1, "utf8")
	add(m.ContentType != "", "content-type %s", quote(m.ContentType))
	add(m.ResponseTopic != "", "response-topic %s", quote(m.ResponseTopic))
	add(len(m.CorrelationData) > 0, "correlation %s", quote(string(m.CorrelationData)))
	for _, id := range m.SubscriptionIDs {
		add(true, "subscription %d", id)
	}
	for _, p := range m.UserProperties {
		add(true, "%s=%s", quote(p.Key), quote(p.Value))
	}
	return all
}

// writePayload writes a short payload behind what stands there, and one of
// several lines below it.
func (l look) writePayload(b *strings.Builder, payload []byte) {
	shown, rest := payload, ""
	if len(payload) > l.limit {
		shown = payload[:l.limit]
		rest = fmt.Sprintf(" ... (%d bytes)", len(payload))
	}
	switch {
	case len(payload) == 0:
		b.WriteString(": (empty)\n")
	case l.payload == "none":
		fmt.Fprintf(b, ": (%d bytes)\n", len(payload))
	case l.payload == "hex":
		fmt.Fprintf(b, ": %s%s\n", hex.EncodeToString(shown), rest)
	case l.payload == "base64":
		fmt.Fprintf(b, ": %s%s\n", base64.StdEncoding.EncodeToString(shown), rest)
	default:
		writeText(b, wholeCharacters(shown, payload), rest)
	}
}

// wholeCharacters leaves away the character that the end of shown cuts.
func wholeCharacters(shown, all []byte) []byte {
	if len(shown) == len(all) || !utf8.Valid(all) {
		return shown
	}
	for !utf8.Valid(shown) {
		shown = shown[:len(shown)-1]
	}
	return shown
}

func writeText(b *strings.Builder, payload []byte, rest string) {
	text := string(payload)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for _, line := range lines {
		if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return control(r) && r != '\t' }) {
			fmt.Fprintf(b, ": %s%s\n", strconv.Quote(text), rest)
			return
		}
	}
	if len(lines) == 1 && text == lines[0] {
		fmt.Fprintf(b, ": %s%s\n", text, rest)
		return
	}
	b.WriteString(":\n")
	for i, line := range lines {
		if i == len(lines)-1 {
			line += rest
		}
		fmt.Fprintf(b, "  %s\n", line)
	}
}

// versionName is the version as people write it.
func versionName(v packet.Version) string {
	switch v {
	case packet.V31:
		return "3.1"
	case packet.V311:
		return "3.1.1"
	}
	return "5.0"
}

// bytesOf counts bytes in words.
func bytesOf(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}
