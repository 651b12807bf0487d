package broker

import (
	"log/slog"
	"strings"
	"testing"

	"midge/internal/packet"
)

// TestRefusalsAreCounted counts each reason for which an Authenticator refuses a
// connection for itself, and says it to the client and in the log.
func TestRefusalsAreCounted(t *testing.T) {
	for r := NoRight; r <= ForeignIdentifier; r++ {
		for _, v := range versions {
			for _, way := range ways {
				d := &doorman{way: way, verdict: func(Request) Verdict {
					return Verdict{Code: packet.BadUserNameOrPassword, Refusal: r, Reason: "for a test"}
				}}
				var log strings.Builder
				w := newWorld(t, quietly(2, func(c *setup) { c.Authenticator, c.Logger = d, slog.New(slog.NewTextHandler(&log, nil)) }))
				p := w.dial(v)
				p.bytes((&packet.Connect{Version: v, ClientID: []byte("c"), CleanStart: true, UserName: []byte("alice"), Password: []byte("secret")}).Append(nil))
				d.let(w)
				ack := p.next(packet.CONNACK)
				if len(ack) < 2 || ack[1] != code(v, packet.BadUserNameOrPassword) {
					t.Fatalf("%v: CONNACK % x", v, ack)
				}
				if v == packet.V5 && !strings.Contains(string(ack), "for a test") {
					t.Errorf("CONNACK has no reason: %q", ack)
				}
				w.turn()
				c := w.b.Counters()
				var want Counters
				*r.of(&want) = 1
				for other := NoRight; other <= ForeignIdentifier; other++ {
					if got := *other.of(&c); got != *other.of(&want) {
						t.Errorf("%v, %s: refusal %d counts %d times as %d", v, way, r, got, other)
					}
				}
				if !strings.Contains(log.String(), "for a test") || !strings.Contains(log.String(), "alice") || strings.Contains(log.String(), "secret") {
					t.Errorf("%v, %s: the log says\n%s", v, way, log.String())
				}
			}
		}
	}
}
