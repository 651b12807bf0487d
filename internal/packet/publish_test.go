package packet

import (
	"bytes"
	"testing"
)

// mixed is a property section in which a client scatters what is forwarded:
// payload format, expiry, content type, alias, user property.
const mixed = "0101 0200000009 03'ct' 230001 26'k''v'"

func TestForward(t *testing.T) {
	for _, tt := range []struct{ name, wire, forward string }{
		{"none", "", ""},
		{"nothing to forward", "0200000009", ""},
		{"in one piece", "0200000009 0101 03'ct' 26'k''v'", "0101 03'ct' 26'k''v'"},
		{"in one piece before others", "0101 03'ct' 230001", "0101 03'ct'"},
		{"v5/MQTT-3.3.2-18/in pieces, order kept", mixed, "0101 03'ct' 26'k''v'"},
		{"two pieces that continue", "26'a''1' 0200000009 26'b''2' 26'a''3'", "26'a''1' 26'b''2' 26'a''3'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p PublishProperties
			for range 2 { // the second time with used memory
				if err := p.decode(PUBLISH, unhex(t, tt.wire), nil); err != nil {
					t.Fatal(err)
				}
				if got, want := p.AppendForward(nil), unhex(t, tt.forward); !bytes.Equal(got, want) {
					t.Errorf("Forward = % x, want % x", got, want)
				}
			}
		})
	}
}

// TestAppendHead shares one head among receivers that differ in the packet
// identifier.
func TestAppendHead(t *testing.T) {
	p := &Publish{QoS: 1, ID: 1, Topic: []byte("a/b"), Payload: []byte("hi"), Properties: PublishProperties{TopicAlias: 2}}
	head, at := p.AppendHead([]byte("earlier"), V5)
	PutID(head[at:], 0xabcd)
	p.ID = 0xabcd
	want := append([]byte("earlier"), p.Append(nil, V5)...)
	if got := append(head, p.Payload...); !bytes.Equal(got, want) {
		t.Errorf("got % x\nwant % x", got, want)
	}
	p.QoS = 0
	if _, at := p.AppendHead([]byte("earlier"), V5); at != 0 {
		t.Errorf("QoS 0 has a packet identifier at %d", at)
	}
}

func TestCheckPayload(t *testing.T) {
	p := &Publish{Payload: []byte{0xff}}
	if err := p.CheckPayload(); err != nil {
		t.Errorf("without indicator: %v", err)
	}
	p.Properties.PayloadFormat = 1
	if err := p.CheckPayload(); code(err) != PayloadFormatInvalid {
		t.Errorf("payload ff as UTF-8: %v", err)
	}
}

// TestWithin sees reason string and user properties go when a packet would
// become too large with them.
func TestWithin(t *testing.T) {
	diagnostic := func() Properties {
		return with(Properties{ReasonString: []byte("reason"), User: user("key", "value")}, PropReasonString)
	}
	for _, tt := range []struct {
		name string
		p    interface {
			appender
			AppendWithin(dst []byte, v Version, limit int) []byte
		}
	}{
		{"v5/MQTT-3.2.2-19/CONNACK", &Connack{Code: ServerBusy, Properties: diagnostic()}},
		{"v5/MQTT-3.4.2-2/PUBACK", &Ack{Type: PUBACK, ID: 1, Code: QuotaExceeded, ReasonString: []byte("reason"), User: user("key", "value")}},
		{"v5/MQTT-3.9.2-1/SUBACK", &Suback{ID: 1, Codes: []ReasonCode{QuotaExceeded}, Properties: diagnostic()}},
		{"v5/MQTT-3.11.2-1/UNSUBACK", &Unsuback{ID: 1, Codes: []ReasonCode{Success}, Properties: diagnostic()}},
		{"v5/MQTT-3.14.2-3/DISCONNECT", &Disconnect{Code: ServerBusy, Properties: diagnostic()}},
		{"v5/MQTT-3.15.2-2/AUTH", &Auth{Code: ContinueAuthentication, Properties: diagnostic()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			full := tt.p.Append(nil, V5)
			sizes := map[int]bool{}
			for limit := len(full); limit >= 0; limit-- {
				b := tt.p.AppendWithin([]byte{0xaa}, V5, limit)[1:]
				if len(b) > limit {
					t.Fatalf("%d bytes with a limit of %d", len(b), limit)
				}
				if sizes[len(b)] = true; len(b) > 0 {
					if _, body, _, _ := Split(b, limit); body == nil {
						t.Fatalf("% x is no packet", b)
					} else if _, err := decode(V5, b[0], body); err != nil {
						t.Fatalf("% x: %v", b, err)
					}
				}
			}
			if len(sizes) != 4 {
				t.Errorf("sizes %v; want four: all, without user properties, without reason string, nothing", sizes)
			}
			if again := tt.p.Append(nil, V5); !bytes.Equal(again, full) {
				t.Error("AppendWithin changed the packet")
			}
		})
	}
}

// TestAllocations keeps PUBLISH and its answers free of allocations once a
// struct has been used.
func TestAllocations(t *testing.T) {
	publish := unhex(t, "'sensors/line1/temperature' 0007 17"+mixed+"68656c6c6f")
	ack := unhex(t, "0001 87 10 1f'why' 26'key''val'")
	ack[3] = byte(len(ack) - 4)
	publish[28+1] = byte(len(unhex(t, mixed)))
	var p Publish
	var a Ack
	out := make([]byte, 0, 256)
	for name, f := range map[string]func(){
		"PUBLISH": func() {
			if err := p.Decode(V5, 0x32, publish); err != nil {
				t.Fatal(err)
			}
			out = p.Append(out[:0], V5)
		},
		"PUBACK": func() {
			if err := a.Decode(V5, 0x40, ack); err != nil {
				t.Fatal(err)
			}
			out = a.Append(out[:0], V5)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
