package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/settings"
)

func asBridge(c *packet.Connect) { c.Bridge = true }

// TestBridge proves what a protocol level with bit 7 means: before 5.0 messages
// don't come back to the bridge that brought them, and those that it gets are
// retained as published; in 5.0 the subscription says so itself.
func TestBridge(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		for _, bridge := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/bridge %v", v, bridge), func(t *testing.T) {
				w := newWorld(t, quietConfig)
				before := w.connect(v, "before")
				before.publish("was/retained", "old", 1, true)
				p := w.connect(v, "bridge", func(c *packet.Connect) { c.Bridge = bridge })
				p.publish("was/bridged", "mine", 0, true)
				p.subscribe("#", 1)
				special := bridge && v != packet.V5
				got := map[string]bool{}
				for {
					m, ok := p.message()
					if !ok {
						break
					}
					got[string(m.Topic)] = m.Retain
				}
				if retained, ok := got["was/retained"]; !ok || !retained {
					t.Errorf("the retained message has not come as such: %v", got)
				}
				if _, ok := got["was/bridged"]; ok == special {
					t.Errorf("the bridge's own retained message: %v", got)
				}
				p.publish("x", "mine", 0, false)
				if !special {
					p.want("mine")
				}
				p.quiet()
				before.publish("y", "kept", 0, true)
				if m := p.want("kept"); m.Retain != special {
					t.Errorf("RETAIN is %v, want %v", m.Retain, special)
				}
				if code := p.subscribe("$share/g/#", 1); code != 1 {
					t.Errorf("shared subscription: 0x%02x", code)
				}
			})
		}
	}
}

// TestBridgeComesBackAsAClient proves that the meaning stays with the
// subscriptions that a bridge made, and ends with it for further ones.
func TestBridgeComesBackAsAClient(t *testing.T) {
	w := newWorld(t, quietConfig)
	lasting := func(c *packet.Connect) { c.CleanStart = false }
	p := w.connect(packet.V311, "bridge", lasting, asBridge)
	p.subscribe("a", 0)
	p.hang()
	p = w.connect(packet.V311, "bridge", lasting)
	p.subscribe("b", 0)
	p.publish("a", "no local", 0, false)
	p.quiet()
	p.publish("b", "comes", 0, false)
	p.want("comes")
	p.quiet()
}

// TestBridgeState proves that the topic where a bridge of Mosquitto tells
// whether it is connected works, as a will and as a message, for the client
// whose id is in it and for no other, and that it is no topic of the broker's
// own.
func TestBridgeState(t *testing.T) {
	const topic = "$SYS/broker/connection/vm.br/state"
	willOf := func(topic string) func(*packet.Connect) {
		return func(c *packet.Connect) {
			c.HasWill = true
			c.Will = packet.Will{Topic: []byte(topic), Payload: []byte("0"), QoS: 1, Retain: true}
		}
	}
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		t.Run(v.String(), func(t *testing.T) {
			cfg := quietConfig
			cfg.Limits.RetainedMessages = 1
			w := newWorld(t, cfg)
			reader := w.connect(v, "reader")
			reader.subscribe("$SYS/broker/connection/#", 1)
			p := w.connect(v, "vm.br", willOf(topic))
			p.publish(topic, "1", 1, true)
			if body := p.next(packet.PUBACK); body == nil || len(body) > 2 && body[2] >= 0x80 {
				t.Fatalf("PUBACK %x", body)
			}
			reader.want("1")
			late := w.connect(v, "late")
			late.subscribe(topic, 1)
			if m := late.want("1"); !m.Retain {
				t.Error("not retained")
			}
			p.hang()
			reader.want("0")
			late.want("0")

			for _, other := range []string{"$SYS/broker/connection/other/state", "$SYS/broker/connection/vm.br", "$SYS/broker/connection/vm.br/state/x", "$SYS/broker/uptime"} {
				d := w.dial(v)
				c := packet.Connect{Version: v, ClientID: []byte("vm.br"), CleanStart: true}
				willOf(other)(&c)
				d.bytes(c.Append(nil))
				if body := d.next(packet.CONNACK); body == nil || body[1] == 0 {
					t.Errorf("will at %s: CONNACK %x", other, body)
				}
				p := w.connect(v, "vm.br")
				p.publish(other, "x", 1, false)
				if body := p.next(packet.PUBACK); v == packet.V5 && (len(body) < 3 || body[2] != byte(packet.NotAuthorized)) {
					t.Errorf("publish to %s: PUBACK %x", other, body)
				}
				p.hang()
			}
			reader.quiet()
		})
	}
}

// TestSysIsNotLimited proves that the broker's own topics take no room from
// the retained messages of clients.
func TestSysIsNotLimited(t *testing.T) {
	for name, limit := range map[string]func(*setup){
		"messages": func(c *setup) { c.Limits.RetainedMessages = 2 },
		"bytes":    func(c *setup) { c.Limits.RetainedBytes = settings.Size(2 * len("a1")) },
	} {
		w := newWorld(t, quietly(4, limit, func(c *setup) { c.Sys.Interval = 10 * time.Second }))
		w.pass(time.Second)
		p := w.connect(packet.V5, "p")
		for i, want := range []packet.ReasonCode{packet.Success, packet.Success, packet.QuotaExceeded, packet.QuotaExceeded} {
			p.publish(string(rune('a'+i)), "1", 1, true)
			body := p.next(packet.PUBACK)
			code := packet.Success
			if len(body) > 2 {
				code = packet.ReasonCode(body[2])
			}
			if code.Failed() != want.Failed() {
				t.Errorf("%s: message %d: %v, want %v", name, i, code, want)
			}
		}
		p.publish("a", "", 1, true)
		p.next(packet.PUBACK)
		p.publish("z", "1", 1, true)
		if body := p.next(packet.PUBACK); len(body) > 2 && body[2] >= 0x80 {
			t.Errorf("%s: no room after one was removed: %x", name, body)
		}
		if n, _, _ := w.b.retained.Count(); n < 20 {
			t.Errorf("%d retained messages with those of $SYS", n)
		}
	}
}

// TestStrict proves what the strict settings refuse, and that it is taken
// without them.
func TestStrict(t *testing.T) {
	long := strings.Repeat("é", 23)
	try := func(strict settings.Strict, v packet.Version, change func(*packet.Connect)) (code byte) {
		cfg := quietConfig
		cfg.Strict, cfg.Session.KeepAlive = strict, 60e9
		w := newWorld(t, cfg)
		c := packet.Connect{Version: v, ClientID: []byte("id"), CleanStart: true, KeepAlive: 60}
		change(&c)
		p := w.dial(v)
		p.bytes(c.Append(nil))
		body := p.next(packet.CONNACK)
		if len(body) < 2 {
			t.Fatalf("%v: no CONNACK", v)
		}
		return body[1]
	}
	for _, tt := range []struct {
		name   string
		strict settings.Strict
		change func(*packet.Connect)
		v31    byte
		v311   byte
		v5     byte
	}{
		{"id of 23", settings.Strict{ClientIDs: true}, func(c *packet.Connect) { c.ClientID = []byte(long) }, 0, 0, 0},
		{"id of 24", settings.Strict{ClientIDs: true}, func(c *packet.Connect) { c.ClientID = []byte(long + "x") }, 2, 0, 0},
		{"keep alive at the most", settings.Strict{KeepAlive: true}, func(c *packet.Connect) {}, 0, 0, 0},
		{"keep alive above", settings.Strict{KeepAlive: true}, func(c *packet.Connect) { c.KeepAlive = 61 }, 2, 2, 0},
		{"no keep alive", settings.Strict{KeepAlive: true}, func(c *packet.Connect) { c.KeepAlive = 0 }, 2, 2, 0},
		{"will topic", settings.Strict{TopicCharacters: true}, func(c *packet.Connect) {
			c.HasWill, c.Will = true, packet.Will{Topic: []byte("a\x01")}
		}, 0xff, 0xff, byte(packet.TopicNameInvalid)},
	} {
		for v, want := range map[packet.Version]byte{packet.V31: tt.v31, packet.V311: tt.v311, packet.V5: tt.v5} {
			if got := try(settings.Strict{}, v, tt.change); got != 0 {
				t.Errorf("%s, %v: 0x%02x without the setting", tt.name, v, got)
			}
			if want == 0xff { // no return code says it
				continue
			}
			if got := try(tt.strict, v, tt.change); got != want {
				t.Errorf("%s, %v: 0x%02x, want 0x%02x", tt.name, v, got, want)
			}
		}
	}
	for _, strict := range []bool{false, true} {
		cfg := quietConfig
		cfg.Strict.TopicCharacters = strict
		w := newWorld(t, cfg)
		p := w.connect(packet.V5, "p")
		for _, c := range []string{"\x01", "\x1f", "\x7f", "\u0080", "\u009f"} {
			if got := p.subscribe("a/"+c+"/+", 0); got.Failed() != strict {
				t.Errorf("strict %v: filter with %q: %v", strict, c, got)
			}
			p.publish("b/"+c, "x", 1, false)
			if body := p.next(packet.PUBACK); (len(body) > 2 && body[2] == byte(packet.TopicNameInvalid)) != strict {
				t.Errorf("strict %v: name with %q: PUBACK %x", strict, c, body)
			}
		}
		for _, c := range []string{" ", "~", "\u00a0", "é", "\u2028"} {
			if got := p.subscribe("a/"+c+"/+", 0); got.Failed() {
				t.Errorf("strict %v: filter with %q: %v", strict, c, got)
			}
		}
	}
}

// TestLongFilters proves that long filters count as several subscriptions, and
// that room comes back.
func TestLongFilters(t *testing.T) {
	cfg := quietConfig
	cfg.Limits.Subscriptions = 40
	w := newWorld(t, cfg)
	p := w.connect(packet.V5, "p")
	long := func(c string) string { return strings.Repeat(c, 65_535) } // 16 each
	for i, want := range []packet.ReasonCode{0, 0, packet.QuotaExceeded} {
		if got := p.subscribe(long(string(rune('a'+i))), 0); got != want {
			t.Errorf("filter %d: %v, want %v", i, got, want)
		}
	}
	for i := range 8 {
		if got := p.subscribe(fmt.Sprint("short", i), 0); got != 0 {
			t.Errorf("short filter %d: %v", i, got)
		}
	}
	if got := p.subscribe("one more", 0); got != packet.QuotaExceeded {
		t.Errorf("one more: %v", got)
	}
	for _, c := range []string{"b", "a"} {
		p.bytes((&packet.Unsubscribe{ID: 8, Filters: [][]byte{[]byte(long(c))}}).Append(nil, packet.V5))
		if p.next(packet.UNSUBACK) == nil {
			t.Fatal("no UNSUBACK")
		}
		if got := p.subscribe(long("z"), 0); got != 0 {
			t.Errorf("after %s is gone: %v", c, got)
		}
		p.publish(long("z"), "x", 0, false)
		p.want("x")
	}
}
