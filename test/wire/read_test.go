package wire

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRead reads packets that a server may send, written by hand.
func TestRead(t *testing.T) {
	tests := []struct {
		name, bytes string
		v           Version
		want        Packet
	}{
		{"CONNACK", "20 03 01 00 00", V5, Packet{Type: CONNACK, Present: true}},
		{"CONNACK with Receive Maximum", "20 06 00 00 03 21 00 0a", V5, Packet{Type: CONNACK, Properties: Properties{{ID: ReceiveMaximum, Value: 10}}}},
		{"CONNACK of 3.1.1", "20 02 01 00", V311, Packet{Type: CONNACK, Present: true}},
		{"PUBLISH QoS 0", "30 05 00 01 74 00 78", V5, Packet{Type: PUBLISH, Topic: "t", Payload: []byte("x")}},
		{"PUBLISH QoS 1 of 3.1.1", "3b 06 00 01 74 00 07 78", V311, Packet{Type: PUBLISH, Dup: true, QoS: 1, Retain: true, ID: 7, Topic: "t", Payload: []byte("x")}},
		{"PUBLISH with two identifiers", "30 08 00 01 74 04 0b 01 0b 02", V5, Packet{
			Type: PUBLISH, Topic: "t", Payload: []byte{}, Properties: Properties{{ID: SubscriptionID, Value: 1}, {ID: SubscriptionID, Value: 2}},
		}},
		{"PUBLISH by alias", "30 06 00 00 03 23 00 05", V5, Packet{Type: PUBLISH, Payload: []byte{}, Properties: Properties{{ID: TopicAlias, Value: 5}}}},
		{"PUBACK", "40 02 00 07", V5, Packet{Type: PUBACK, ID: 7}},
		{"PUBACK with a code", "40 03 00 07 10", V5, Packet{Type: PUBACK, ID: 7, Code: 0x10}},
		{"PUBREL", "62 04 00 07 92 00", V5, Packet{Type: PUBREL, ID: 7, Code: 0x92}},
		{"SUBACK", "90 05 00 07 00 01 80", V5, Packet{Type: SUBACK, ID: 7, Codes: []byte{1, 0x80}}},
		{"UNSUBACK of 3.1.1", "b0 02 00 07", V311, Packet{Type: UNSUBACK, ID: 7}},
		{"PINGRESP", "d0 00", V311, Packet{Type: PINGRESP}},
		{"DISCONNECT", "e0 00", V5, Packet{Type: DISCONNECT}},
		{"DISCONNECT with a reason", "e0 06 8e 04 1f 00 01 61", V5, Packet{Type: DISCONNECT, Code: 0x8e, Properties: Properties{{ID: ReasonString, Text: "a"}}}},
		{"AUTH", "f0 07 18 05 15 00 02 61 62", V5, Packet{Type: AUTH, Code: 0x18, Properties: Properties{{ID: AuthenticationMethod, Text: "ab"}}}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			b := unhex(t, c.bytes)
			for n := range b {
				if _, size, err := Read(b[:n], c.v); size != 0 || err != nil {
					t.Fatalf("%d of %d bytes: size %d, %v", n, len(b), size, err)
				}
			}
			got, size, err := Read(append(b, 0xff), c.v)
			if err != nil || size != len(b) || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, size %d, %v; want %+v", got, size, err, c.want)
			}
		})
	}
}

// TestMalformed reads what no server may send.
func TestMalformed(t *testing.T) {
	tests := []struct {
		name, bytes string
		v           Version
	}{
		{"remaining length of five bytes", "d0 80 80 80 80 01", V5},
		{"remaining length too long", "d0 80 00", V5},
		{"reserved flags of CONNACK", "21 03 00 00 00", V5},
		{"reserved flags of PUBREL", "60 02 00 07", V5},
		{"reserved acknowledge flags", "20 03 02 00 00", V5},
		{"session present with a failure", "20 03 01 87 00", V5},
		{"session present in 3.1", "20 02 01 00", V31},
		{"code of CONNACK", "20 03 00 01 00", V5},
		{"code of CONNACK in 3.1.1", "20 02 00 06", V311},
		{"CONNACK too short", "20 01 00", V5},
		{"CONNACK too long", "20 04 00 00 00 00", V5},
		{"property length too long", "20 03 00 00 05", V5},
		{"property length not in its shortest form", "20 04 00 00 80 00", V5},
		{"property twice", "20 09 00 00 06 21 00 0a 21 00 0a", V5},
		{"property of another packet", "20 08 00 00 05 02 00 00 00 01", V5},
		{"property of a client", "20 05 00 00 02 17 01", V5},
		{"unknown property", "20 05 00 00 02 7e 01", V5},
		{"property cut off", "20 05 00 00 02 21 00", V5},
		{"Receive Maximum 0", "20 06 00 00 03 21 00 00", V5},
		{"Maximum QoS 2", "20 05 00 00 02 24 02", V5},
		{"QoS 3", "36 06 00 01 74 00 07 00", V5},
		{"DUP at QoS 0", "38 04 00 01 74 00", V5},
		{"packet identifier 0", "32 06 00 01 74 00 00 00", V5},
		{"wildcard in a topic name", "30 04 00 01 23 00", V5},
		{"no topic name", "30 03 00 00 00", V5},
		{"topic name not UTF-8", "30 04 00 01 ff 00", V5},
		{"surrogate in a topic name", "30 06 00 03 ed a0 80 00", V5},
		{"U+0000 in a topic name", "30 04 00 01 00 00", V5},
		{"subscription identifier 0", "30 06 00 01 74 02 0b 00", V5},
		{"topic alias 0", "30 07 00 01 74 03 23 00 00", V5},
		{"session expiry in DISCONNECT", "e0 07 00 05 11 00 00 00 01", V5},
		{"code of PUBACK", "40 03 00 07 92", V5},
		{"PUBACK of 3.1.1 with a code", "40 03 00 07 00", V311},
		{"SUBACK without codes", "90 03 00 07 00", V5},
		{"code of SUBACK", "90 04 00 07 00 03", V5},
		{"failure in SUBACK of 3.1", "90 03 00 07 80", V31},
		{"UNSUBACK of 3.1.1 with a code", "b0 03 00 07 00", V311},
		{"PINGRESP with a body", "d0 01 00", V5},
		{"DISCONNECT of 3.1.1", "e0 00", V311},
		{"code of DISCONNECT", "e0 01 04", V5},
		{"authentication data without a method", "f0 06 18 04 16 00 01 61", V5},
		{"CONNECT", "10 00", V5},
		{"SUBSCRIBE", "82 00", V5},
		{"packet type 0", "00 00", V5},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			if p, _, err := Read(unhex(t, c.bytes), c.v); err == nil {
				t.Errorf("no error, but %+v", p)
			}
		})
	}
}

// TestWrite writes packets whose bytes were written by hand.
func TestWrite(t *testing.T) {
	c := Connect{Version: V5, Clean: true, KeepAlive: 60, ID: "a", Properties: Properties{{ID: SessionExpiry, Value: 1}}}
	tests := []struct {
		name, want string
		got        []byte
	}{
		{"CONNECT", "10 13 00 04 4d 51 54 54 05 02 00 3c 05 11 00 00 00 01 00 01 61", c.Append(nil)},
		{"CONNECT of 3.1", "10 0f 00 06 4d 51 49 73 64 70 03 02 00 00 00 01 61", (&Connect{Version: V31, Clean: true, ID: "a"}).Append(nil)},
		{"PUBLISH", "3a 07 00 01 74 00 07 00 78", AppendPublish(nil, V5, &Packet{Dup: true, QoS: 1, ID: 7, Topic: "t", Payload: []byte("x")})},
		{"PUBREL", "62 02 00 07", AppendAck(nil, V5, PUBREL, 7, 0)},
		{"PUBREC", "50 03 00 07 83", AppendAck(nil, V5, PUBREC, 7, 0x83)},
		{"SUBSCRIBE", "82 07 00 07 00 00 01 74 2d", AppendSubscribe(nil, V5, 7, nil, Filter{Name: "t", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2})},
		{"UNSUBSCRIBE", "a2 05 00 07 00 01 74", AppendUnsubscribe(nil, V311, 7, "t")},
		{"PINGREQ", "c0 00", AppendPingreq(nil)},
		{"DISCONNECT", "e0 02 04 00", AppendDisconnect(nil, V5, 4, nil)},
	}
	for _, c := range tests {
		if want := unhex(t, c.want); !bytes.Equal(c.got, want) {
			t.Errorf("%s: got % x, want % x", c.name, c.got, want)
		}
	}
}
