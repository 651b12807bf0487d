package pubsub

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"midge/internal/client"
)

// TestFormat proves what each sequence prints.
func TestFormat(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 7_000_000, time.FixedZone("", 3600))
	expiry, format := uint32(60), uint8(1)
	full := client.Message{
		Topic: "a/é", Payload: []byte("hi\xff"), QoS: 1, Retain: true, PacketID: 7, TopicAlias: 9, Expiry: &expiry, PayloadFormat: &format, ContentType: "text",
		ResponseTopic: "r", CorrelationData: []byte("c"), SubscriptionIDs: []uint32{3, 4}, UserProperties: []client.UserProperty{{Key: "k", Value: "v"}, {Key: "l", Value: "w"}},
	}
	for _, tt := range []struct{ format, full, empty string }{
		{"", "", ""},
		{"plain é", "plain é", "plain é"},
		{"%t %p", "a/é hi\xff", "t "},
		{"%q%r%m%l", "1173", "0000"},
		{"%x %X %05l", "6869ff 6869FF 00003", "  00000"},
		{"%A|%C|%D|%E|%F|%P|%R|%S", "9|text|c|60|1|k:v l:w|r|3 4", "|||||||"},
		{"[%5t][%-5t][%.2t][%-4.2t][%05t]", "[  a/é][a/é  ][a/][a/  ][  a/é]", "[    t][t    ][t][t   ][    t]"},
		{"[%5p][%-5p]", "[  hi\xff][hi\xff  ]", "[     ][     ]"},
		{"%I %U", "2026-02-03T04:05:06+0100 1770087906.007000000", "2026-02-03T04:05:06+0100 1770087906.007000000"},
		{"@Y-@m-@d @H:@M:@S.@N @@ @j", "2026-02-03 04:05:06.007000000 @ 034", "2026-02-03 04:05:06.007000000 @ 034"},
		{`%%\\\n\t\r\0\a\e\v`, "%\\\n\t\r\x00\a\x1b\v", "%\\\n\t\r\x00\a\x1b\v"},
		{
			"%j", `{"tst":"2026-02-03T04:05:06.007000+0100","topic":"a/é","qos":1,"retain":1,"payloadlen":3,"mid":7,"properties":{"payload-format-indicator":1,"message-expiry-interval":60,"content-type":"text","response-topic":"r","correlation-data":"c","subscription-identifiers":[3,4],"topic-alias":9,"user-properties":{"k":"v","l":"w"}},"payload_base64":"aGn/"}`,
			`{"tst":"2026-02-03T04:05:06.007000+0100","topic":"t","qos":0,"retain":0,"payloadlen":0,"payload":""}`,
		},
	} {
		f, err := ParseFormat(tt.format)
		if err != nil {
			t.Errorf("%q: %v", tt.format, err)
			continue
		}
		for want, m := range map[string]client.Message{tt.full: full, tt.empty: {Topic: "t"}} {
			if tt.full == tt.empty {
				m = full
			}
			if got, err := f.Append(nil, m, at); err != nil || string(got) != want {
				t.Errorf("%q: %q %v\nwant %q", tt.format, got, err, want)
			}
		}
	}
}

// TestFormatFaults proves that what is no sequence is told.
func TestFormatFaults(t *testing.T) {
	for format, want := range map[string]string{
		"a%":  "format %: it ends with %",
		`\`:   `format \: it ends with \`,
		"%-5": "format %-5: it ends within %-5",
		"%v":  "format %v: %v is none of ",
		`\q`:  `format \q: \q is none of `,
		"@!":  "format @!: @! is unknown",
	} {
		if _, err := ParseFormat(format); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", format, err)
		}
	}
}

// TestJSONPayload proves that %J takes a payload only if it is JSON, and that
// --pretty keeps it valid.
func TestJSONPayload(t *testing.T) {
	f, err := ParseFormat("%J")
	if err != nil {
		t.Fatal(err)
	}
	for payload, ok := range map[string]bool{`{"a": [1]}`: true, `1`: true, `"é"`: true, `{`: false, ``: false, "\xff": false} {
		for _, f.Pretty = range []bool{false, true} {
			got, err := f.Append(nil, client.Message{Topic: "t", Payload: []byte(payload)}, time.Now())
			if (err == nil) != ok || ok && (!json.Valid(got) || !strings.Contains(string(got), `"payload":`)) {
				t.Errorf("%s: %s %v", payload, got, err)
			}
		}
	}
}

// TestLines proves where lines end.
func TestLines(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for text, want := range map[string][]string{
		"":             {},
		"\n":           {""},
		"a":            {"a"},
		"a\n":          {"a"},
		"a\nb":         {"a", "b"},
		"\n\na\r\n":    {"", "", "a\r"},
		long + "\nend": {long, "end"},
	} {
		got := []string{}
		err := feedLines(strings.NewReader(text), func(line []byte) error {
			got = append(got, string(line))
			return nil
		})
		if err != nil || strings.Join(got, "|") != strings.Join(want, "|") || len(got) != len(want) {
			t.Errorf("%.20q: %d lines %.60q, %v", text, len(got), got, err)
		}
	}
}
