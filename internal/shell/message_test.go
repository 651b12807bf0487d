package shell

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"midge/internal/client"
)

func TestMessageLook(t *testing.T) {
	one, expiry := byte(1), uint32(30)
	at := time.Date(2026, 5, 4, 3, 2, 1, 9e6, time.UTC)
	text := look{payload: "text", limit: 10}
	for _, tt := range []struct {
		name string
		look look
		m    client.Message
		want string
	}{
		{"text", text, client.Message{Topic: "t", Payload: []byte("21.5")}, "a < t (QoS 0): 21.5\n"},
		{"empty", text, client.Message{Topic: "t", QoS: 1, Retain: true, Dup: true}, "a < t (QoS 1, retain, dup): (empty)\n"},
		{"properties", text, client.Message{
			Topic: "t", Payload: []byte("x"), Expiry: &expiry, PayloadFormat: &one, ContentType: "text/plain", ResponseTopic: "r s",
			CorrelationData: []byte{0}, SubscriptionIDs: []uint32{3, 4}, UserProperties: []client.UserProperty{{Key: "k", Value: ""}},
		}, "a < t (QoS 0, expiry 30 s, utf8, content-type text/plain, response-topic 'r s', correlation \"\\x00\", subscription 3, subscription 4, k=''): x\n"},
		{"lines", text, client.Message{Topic: "t", Payload: []byte("a\n\tb\n")}, "a < t (QoS 0):\n  a\n  \tb\n"},
		{"binary", text, client.Message{Topic: "t", Payload: []byte("a\x00\n")}, "a < t (QoS 0): \"a\\x00\\n\"\n"},
		{"escapes", text, client.Message{Topic: "t\x1b[2J", Payload: []byte("\x1b[2J")}, "a < \"t\\x1b[2J\" (QoS 0): \"\\x1b[2J\"\n"},
		{"reordering", text, client.Message{Topic: "t", Payload: []byte("a\u202eb")}, "a < t (QoS 0): \"a\\u202eb\"\n"},
		{"long", text, client.Message{Topic: "t", Payload: []byte("0123456789x")}, "a < t (QoS 0): 0123456789 ... (11 bytes)\n"},
		{"whole characters", text, client.Message{Topic: "t", Payload: []byte("012345678éx")}, "a < t (QoS 0): 012345678 ... (12 bytes)\n"},
		{"hex", look{payload: "hex", limit: 2}, client.Message{Topic: "t", Payload: []byte{1, 2, 3}}, "a < t (QoS 0): 0102 ... (3 bytes)\n"},
		{"base64", look{payload: "base64", limit: 9}, client.Message{Topic: "t", Payload: []byte{1, 2, 3}}, "a < t (QoS 0): AQID\n"},
		{"none", look{payload: "none", limit: 9}, client.Message{Topic: "t", Payload: []byte{1, 2, 3}}, "a < t (QoS 0): (3 bytes)\n"},
		{"time and color", look{payload: "text", limit: 9, time: true, color: true}, client.Message{Topic: "t", Payload: []byte("x")}, "03:02:01.009 \x1b[36ma < t\x1b[0m (QoS 0): x\n"},
	} {
		if got := tt.look.message("a", &tt.m, at); got != tt.want {
			t.Errorf("%s: %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

// TestInbox proves that take waits, and that it says what was lost.
func TestInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox()
		go func() {
			time.Sleep(time.Second)
			b.put(client.Message{Topic: "late"})
			b.close(errors.New("gone"))
		}()
		if m, err := b.take(t.Context()); err != nil || m.Topic != "late" {
			t.Errorf("%q, %v", m.Topic, err)
		}
		if _, err := b.take(t.Context()); err == nil || err.Error() != "gone" {
			t.Error(err)
		}
		b = newInbox()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.take(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		for range inboxMessages + 3 {
			b.put(client.Message{})
		}
		if _, err := b.take(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "3 messages were lost") {
			t.Error(err)
		}
		if received, waiting, _ := b.figures(); received != inboxMessages+3 || waiting != inboxMessages {
			t.Error(received, waiting)
		}
		b.put(client.Message{Payload: make([]byte, inboxBytes+1)})
		if _, waiting, _ := b.figures(); waiting != 1 {
			t.Errorf("%d messages wait, of more bytes than there may be", waiting)
		}
	})
}

// TestFold proves that help fits into the width of a terminal, and that what is
// written elsewhere is left as it is.
func TestFold(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{
		{"one two three", 0, "one two three"},
		{"one two three", 13, "one two three"},
		{"one two three", 12, "one two|three"},
		{"one\ntwo three", 20, "one two three"},
		{"ünï twö three", 7, "ünï twö|three"},
		{"a-word-that-is-longer x", 5, "a-word-that-is-longer|x"},
		{"", 5, ""},
	} {
		if got := strings.Join(fold(tt.text, tt.width), "|"); got != tt.want {
			t.Errorf("%q in %d columns: %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
	all := commands()
	for _, width := range []int{60, 80} {
		connect, _, _ := strings.Cut(find(all, "connect").help(width), "\nExamples:") // examples are not folded
		for line := range strings.Lines(overview(all, width) + connect) {
			if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > width {
				t.Errorf("more than %d columns: %s", width, line)
			}
		}
	}
}
