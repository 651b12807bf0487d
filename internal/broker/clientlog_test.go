package broker

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
)

// logged is a world whose log is kept.
func logged(t *testing.T, cfg setup) (*world, *bytes.Buffer) {
	t.Helper()
	lines := &bytes.Buffer{}
	cfg.Logger = slog.New(slog.NewTextHandler(lines, nil))
	return newWorld(t, cfg), lines
}

// TestLogSaysWhatHappensToClients walks through everything that ends a client or
// refuses it something, and looks for one line that says who, why, and which
// clause.
func TestLogSaysWhatHappensToClients(t *testing.T) {
	type want []string
	deny := func(c *setup) { c.Authenticator = denying{} }
	slow := func(c *setup) { c.Limits.PendingBytes = 4096 }
	few := func(c *setup) {
		c.Limits.Connections, c.Limits.Subscriptions, c.Limits.TopicLevels, c.Limits.RetainedMessages = 2, 1, 3, 1
	}
	for _, test := range []struct {
		name string
		cfg  func(*setup)
		do   func(w *world)
		want want
	}{
		{"connects", nil, func(w *world) { w.connect(packet.V5, "a") }, want{`msg="client connected"`, "client=a", "remote=", "version=v5"}},
		{
			"disconnects", nil, func(w *world) { w.connect(packet.V311, "a").bytes([]byte{0xE0, 0}) },
			want{`msg="client disconnected"`, "client=a", `reason="DISCONNECT from the client`},
		},
		{
			"is lost", nil, func(w *world) {
				p := w.connect(packet.V5, "a")
				w.b.shards[p.shard].Closed(p, io.ErrUnexpectedEOF)
				p.told, p.closed = true, true
			},
			want{`msg="client disconnected"`, "client=a", `reason="the connection was lost: unexpected EOF"`},
		},
		{
			"breaks the standard", nil, func(w *world) { w.connect(packet.V5, "a").bytes([]byte{0xF0, 0}) },
			want{`msg="client closed"`, "level=WARN", "client=a", "clause=v5/"},
		},
		{
			"breaks it before CONNECT", nil, func(w *world) { w.dial(packet.V5).bytes([]byte{0xC0, 0}) },
			want{`msg="client refused"`, "level=WARN", `client=""`, "clause=v5/MQTT-3.1.0-1"},
		},
		{
			"is taken over", nil, func(w *world) { w.connect(packet.V5, "a"); w.connect(packet.V5, "a") },
			want{`msg="client closed"`, "level=INFO", "client=a", `code="0x8E `, "another connection"},
		},
		{"is silent", nil, func(w *world) {
			w.connect(packet.V5, "a", func(c *packet.Connect) { c.KeepAlive = 1 })
			w.pass(3 * time.Second)
		}, want{`msg="client closed"`, "client=a", `code="0x8D `, "clause=v5/MQTT-3.1.2-22"}},
		{
			"says nothing", nil, func(w *world) { w.dial(packet.V5); w.pass(time.Minute) },
			want{`msg="client refused"`, "limits.connect_timeout"},
		},
		{"is one too many", few, func(w *world) {
			for i := range 3 {
				w.dial(packet.V5).bytes(connectOf(fmt.Sprint(i)))
			}
		}, want{`msg="client refused"`, "level=WARN", "limits.connections"}},
		{
			"has no right to connect", deny, func(w *world) { w.dial(packet.V5).bytes(connectOf("no")) },
			want{`msg="client refused"`, "client=no", `code="0x87 `},
		},
		{
			"has no right to publish", deny, func(w *world) { w.connect(packet.V5, "a").publish("secret", "x", 1, false) },
			want{`msg="client limited"`, "client=a", "PUBLISH", "no right", `code="0x87 `},
		},
		{
			"has no right to subscribe", deny, func(w *world) { w.connect(packet.V5, "a").subscribe("secret", 1) },
			want{`msg="client limited"`, "client=a", "SUBSCRIBE secret", `code="0x87 `},
		},
		{
			"subscribes too much", few, func(w *world) { c := w.connect(packet.V5, "a"); c.subscribe("a", 1); c.subscribe("b", 1) },
			want{`msg="client limited"`, "client=a", "SUBSCRIBE b", `code="0x97 `},
		},
		{
			"publishes too deep", few, func(w *world) { w.connect(packet.V5, "a").publish("a/b/c/d", "x", 1, false) },
			want{`msg="client limited"`, "client=a", "limits.topic_levels"},
		},
		{"takes no CONNACK", nil, func(w *world) {
			c := packet.Connect{Version: packet.V5, ClientID: []byte("a")}
			c.Properties.MaximumPacketSize = 3
			c.Properties.Set(packet.PropMaximumPacketSize)
			w.dial(packet.V5).bytes(c.Append(nil))
		}, want{`msg="client refused"`, "level=WARN", "client=a", "clause=v5/MQTT-3.1.2-24"}},
		{"retains too much", few, func(w *world) {
			c := w.connect(packet.V5, "a")
			c.publish("a", "x", 1, true)
			c.next(packet.PUBACK)
			c.publish("b", "x", 1, true)
		}, want{`msg="client limited"`, "client=a", `code="0x97 `}},
		{"reads nothing", slow, func(w *world) {
			p := w.connect(packet.V5, "a")
			p.subscribe("t", 1)
			p.deaf = true
			pub := w.connect(packet.V5, "b")
			for range 10 {
				pub.publish("t", string(make([]byte, 1000)), 1, false)
			}
			w.pass(2 * slowPatience)
		}, want{`msg="client closed"`, "level=WARN", "client=a", "read nothing for too long", `code="0x97 `}},
		{"asks and does not read", slow, func(w *world) {
			p := w.connect(packet.V5, "a")
			p.deaf = true
			for range 3000 { // 2,048 answers are as many as may wait, and as many again are asked for
				p.bytes([]byte{0xC0, 0, 0xC0, 0})
			}
		}, want{`msg="client closed"`, "level=WARN", "client=a", "too much output", `code="0x97 `}},
		{"comes while memory is short", nil, func(w *world) {
			w.press(RefuseConnects)
			w.dial(packet.V5).bytes(connectOf("late"))
		}, want{`msg="client refused"`, "level=WARN", "client=late", "limits.memory", `code="0x97 `}},
		{"takes an id from another", nil, func(w *world) {
			w.connect(packet.V5, "a")
			w.connect(packet.V5, "a")
			w.dial(packet.V5).bytes(connectOf("a"))
		}, want{`msg="client delayed"`, "level=WARN", "client=a", "clause=MQTT-3.1.4-3"}},
		{"takes no CONNACK", nil, func(w *world) {
			c := packet.Connect{Version: packet.V5, ClientID: []byte("small"), CleanStart: true}
			mostBytes(2)(&c)
			w.dial(packet.V5).bytes(c.Append(nil))
		}, want{`msg="client refused"`, "level=WARN", "client=small", "Maximum Packet Size", "clause=v5/"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := quietly(2)
			if test.cfg != nil {
				test.cfg(&cfg)
			}
			w, lines := logged(t, cfg)
			test.do(w)
			found := 0
		lines:
			for line := range strings.Lines(lines.String()) {
				for _, part := range test.want {
					if !strings.Contains(line, part) {
						continue lines
					}
				}
				found++
			}
			if found != 1 {
				t.Errorf("%d lines with %q in\n%s", found, test.want, lines)
			}
		})
	}
}

func connectOf(id string) []byte {
	return (&packet.Connect{Version: packet.V5, ClientID: []byte(id), CleanStart: true}).Append(nil)
}

// denying has rights for nobody named "no", and none for "secret".
type denying struct{}

func (d denying) Connect(r Request, done func(Verdict)) {
	if r.ClientID == "no" {
		done(Verdict{Code: packet.NotAuthorized})
		return
	}
	done(Verdict{Principal: "someone", Permissions: d})
}
func (denying) Publish(topic []byte, _ packet.QoS, _ bool) bool { return string(topic) != "secret" }
func (denying) Subscribe(filter string) bool                    { return filter != "secret" }
func (denying) Receive([]byte) bool                             { return true }

// TestDebugSaysEachEnd ends connections in every way, before and after CONNECT:
// for each there is one line with the reason, with and without lines for clients
// that come and go.
func TestDebugSaysEachEnd(t *testing.T) {
	loses := func(err error) func(w *world, p *peer) {
		return func(w *world, p *peer) {
			p.told, p.closed = true, true
			w.b.shards[p.shard].Closed(p, err)
		}
	}
	sends := func(b ...byte) func(w *world, p *peer) { return func(_ *world, p *peer) { p.bytes(b) } }
	passes := func(d time.Duration) func(w *world, p *peer) { return func(w *world, _ *peer) { w.pass(d) } }
	const never, lost = "the peer closed the connection", "the connection was lost: unexpected EOF"
	for _, tt := range []struct {
		name   string
		client bool // after CONNECT
		end    func(w *world, p *peer)
		reason string
	}{
		{"the peer leaves", false, loses(nil), never},
		{"the network breaks", false, loses(io.ErrUnexpectedEOF), lost},
		{"garbage", false, sends([]byte("GET / HTTP/1.1\r\n\r\n")...), "the first packet is not CONNECT"},
		{"no right", false, sends(connectOf("no")...), "access was denied"},
		{"half a CONNECT", false, func(w *world, p *peer) { p.bytes(connectOf("half")[:5]); w.pass(time.Minute) }, "no CONNECT in time"},
		{"too small for CONNACK", false, func(_ *world, p *peer) {
			c := packet.Connect{Version: packet.V5, ClientID: []byte("small"), CleanStart: true}
			mostBytes(2)(&c)
			p.bytes(c.Append(nil))
		}, "Maximum Packet Size is too small for CONNACK"},
		{"the peer leaves", true, loses(nil), never},
		{"the network breaks", true, loses(io.ErrUnexpectedEOF), lost},
		{"DISCONNECT", true, sends(0xE0, 0), "DISCONNECT from the client"},
		{"a fault", true, sends(0xF0, 0), "AUTH"},
		{"silence", true, passes(time.Minute), "silent for longer"},
		{"another one", true, func(w *world, _ *peer) { w.dial(packet.V5).bytes(connectOf("it")) }, "another connection uses the client id"},
	} {
		for _, quiet := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/client=%t/quiet=%t", tt.name, tt.client, quiet), func(t *testing.T) {
				lines := &bytes.Buffer{}
				w := newWorld(t, quietly(1, func(c *setup) {
					c.Log.Connections, c.Authenticator = !quiet, denying{}
					c.Logger = slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
				}))
				var p *peer
				what := `msg="connection ended"`
				if tt.client {
					what = `msg="client disconnected" client=it`
					p = w.connect(packet.V5, "it", func(c *packet.Connect) { c.KeepAlive = 10 })
				} else {
					p = w.dial(packet.V5)
				}
				tt.end(w, p)
				w.turn()
				found := 0
				for line := range strings.Lines(lines.String()) {
					if strings.Contains(line, what) && strings.Contains(line, tt.reason) {
						found++
					}
				}
				if found != 1 || !p.closed {
					t.Errorf("%d lines with %s and %q, closed %t, in\n%s", found, what, tt.reason, p.closed, lines)
				}
			})
		}
	}
}

// TestLogInAStorm refuses thousands of connections of one address and some of
// another, and counts lines.
func TestLogInAStorm(t *testing.T) {
	w, lines := logged(t, quietly(4))
	const storm = 3000
	for range storm {
		w.dial(packet.V5).bytes([]byte{0xC0, 0})
	}
	if n := strings.Count(lines.String(), `msg="client refused"`); n != maxLogLines {
		t.Errorf("%d lines of a storm, want %d", n, maxLogLines)
	}
	w.pass(logWindowTime + time.Second)
	if want := fmt.Sprintf("count=%d", storm-maxLogLines); !strings.Contains(lines.String(), `msg="lines left out"`) || !strings.Contains(lines.String(), want) {
		t.Errorf("no line with %s in\n%s", want, lines)
	}
	if n := len(w.b.clients.windows); n != 0 {
		t.Errorf("%d windows stay", n)
	}
	lines.Reset()
	w.dial(packet.V5).bytes([]byte{0xC0, 0})
	if !strings.Contains(lines.String(), `msg="client refused"`) {
		t.Error("nothing is written after the storm")
	}
}

// TestQuietConnections leaves clients that come and go out of the log.
func TestQuietConnections(t *testing.T) {
	w, lines := logged(t, quietly(4, func(c *setup) { c.Log.Connections = false }))
	w.connect(packet.V5, "a").bytes([]byte{0xE0, 0})
	if lines.Len() > 0 {
		t.Errorf("written: %s", lines)
	}
}
