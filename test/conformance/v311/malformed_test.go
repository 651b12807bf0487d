package v311

import (
	"strings"
	"testing"

	. "midge/test/conformance/mqtt3"
)

// Strings that are not what section 1.5.3 asks for.
const (
	notUTF8   = "a\xffb"
	surrogate = "a\xed\xa0\x80b" // U+D800
	overlong  = "a\xc0\xafb"     // U+002F in two bytes
	cutOff    = "a\xe2\x82"      // two bytes of U+20AC
	null      = "a\x00b"
)

// bytesTest is what a client sends, and must lose its connection for, without
// an answer.
type bytesTest struct {
	name string
	send []byte
}

// TestMalformedConnect sends a first packet that breaks the rules.
func TestMalformedConnect(t *testing.T) {
	clean := connectHead(CleanSession)
	for _, tt := range []bytesTest{
		{"v311/MQTT-1.5.3-1/client identifier is not UTF-8", Packet(0x10, clean, notUTF8)},
		{"v311/MQTT-1.5.3-1/client identifier has a surrogate", Packet(0x10, clean, surrogate)},
		{"v311/MQTT-1.5.3-1/client identifier is overlong", Packet(0x10, clean, overlong)},
		{"v311/MQTT-1.5.3-1/client identifier ends in a character", Packet(0x10, clean, cutOff)},
		{"v311/MQTT-1.5.3-1/will topic", Packet(0x10, connectHead(CleanSession|HasWill), unique(), surrogate, "x")},
		{"v311/MQTT-1.5.3-1/user name", Packet(0x10, connectHead(CleanSession|HasUserName), unique(), surrogate)},
		{"v311/MQTT-1.5.3-2/client identifier", Packet(0x10, clean, null)},
		{"v311/MQTT-1.5.3-2/will topic", Packet(0x10, connectHead(CleanSession|HasWill), unique(), null, "x")},
		{"v311/MQTT-1.5.3-2/user name", Packet(0x10, connectHead(CleanSession|HasUserName), unique(), null)},

		{"v311/MQTT-2.2.2-2/CONNECT", Packet(0x11, clean, unique())},

		{"v311/MQTT-3.1.0-1/PUBLISH", Publish(0x30, "a", 0, "x")},
		{"v311/MQTT-3.1.0-1/PUBLISH at QoS 1", Publish(0x32, "a", 1, "x")},
		{"v311/MQTT-3.1.0-1/PUBACK", Packet(0x40, 0, 1)},
		{"v311/MQTT-3.1.0-1/PUBREL", Packet(0x62, 0, 1)},
		{"v311/MQTT-3.1.0-1/SUBSCRIBE", Packet(0x82, 0, 1, "a", 0)},
		{"v311/MQTT-3.1.0-1/UNSUBSCRIBE", Packet(0xa2, 0, 1, "a")},
		{"v311/MQTT-3.1.0-1/PINGREQ", Pingreq()},
		{"v311/MQTT-3.1.0-1/DISCONNECT", Disconnect()},
		{"v311/MQTT-3.1.0-1/PUBLISH with the body of CONNECT", Packet(0x30, clean, unique())},
		{"v311/MQTT-3.1.0-1/PINGREQ with the body of CONNECT", Packet(0xc0, clean, unique())},

		{"v311/MQTT-3.1.2-3/reserved flag", Packet(0x10, connectHead(CleanSession|1), unique())},
		{"v311/MQTT-3.1.2-9/neither will topic nor will message", Packet(0x10, connectHead(CleanSession|HasWill), unique())},
		{"v311/MQTT-3.1.2-9/no will message", Packet(0x10, connectHead(CleanSession|HasWill), unique(), "a")},
		{"v311/MQTT-3.1.2-11/will topic and message without flag", Packet(0x10, clean, unique(), "a", "x")},
		{"v311/MQTT-3.1.2-11/will QoS and will retain without flag", Packet(0x10, connectHead(CleanSession|WillQoS2|WillRetain), unique())},
		{"v311/MQTT-3.1.2-13/will QoS 1 without flag", Packet(0x10, connectHead(CleanSession|WillQoS1), unique())},
		{"v311/MQTT-3.1.2-13/will QoS 2 without flag", Packet(0x10, connectHead(CleanSession|WillQoS2), unique())},
		{"v311/MQTT-3.1.2-14/will QoS 3", Packet(0x10, connectHead(CleanSession|HasWill|WillQoS3), unique(), "a", "x")},
		{"v311/MQTT-3.1.2-15/will retain without flag", Packet(0x10, connectHead(CleanSession|WillRetain), unique())},
		{"v311/MQTT-3.1.2-18/user name without flag", Packet(0x10, clean, unique(), "user")},
		{"v311/MQTT-3.1.2-19/no user name", Packet(0x10, connectHead(CleanSession|HasUserName), unique())},
		{"v311/MQTT-3.1.2-20/password without flag", Packet(0x10, connectHead(CleanSession|HasUserName), unique(), "user", "secret")},
		{"v311/MQTT-3.1.2-21/no password", Packet(0x10, connectHead(CleanSession|HasUserName|HasPassword), unique(), "user")},
		{"v311/MQTT-3.1.2-22/password without user name", Packet(0x10, connectHead(CleanSession|HasPassword), unique(), "secret")},

		{"v311/MQTT-3.1.3-3/no client identifier", Packet(0x10, clean)},
		{"v311/MQTT-3.1.3-4/client identifier is not UTF-8", Packet(0x10, clean, notUTF8)},
		{"v311/MQTT-3.1.3-10/will topic is not UTF-8", Packet(0x10, connectHead(CleanSession|HasWill), unique(), notUTF8, "x")},
		{"v311/MQTT-3.1.3-11/user name is not UTF-8", Packet(0x10, connectHead(CleanSession|HasUserName), unique(), notUTF8)},

		{"v311/MQTT-3.1.4-1/no protocol level", Packet(0x10, "MQTT")},
		{"v311/MQTT-3.1.4-1/no keep-alive", Packet(0x10, "MQTT", 4, 2)},
		{"v311/MQTT-3.1.4-1/empty packet", Packet(0x10)},
		{"v311/MQTT-3.1.4-1/client identifier ends early", Packet(0x10, clean, 0, 9, []byte("short"))},
		{"v311/MQTT-3.1.4-1/bytes behind the payload", Packet(0x10, clean, unique(), 0)},

		{"v311/MQTT-4.7.1-1/will topic has #", Packet(0x10, connectHead(CleanSession|HasWill), unique(), "a/#", "x")},
		{"v311/MQTT-4.7.1-1/will topic has +", Packet(0x10, connectHead(CleanSession|HasWill), unique(), "+/a", "x")},
		{"v311/MQTT-4.7.3-1/will topic is empty", Packet(0x10, connectHead(CleanSession|HasWill), unique(), "", "x")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := dial(t)
			c.Send(tt.send)
			c.ExpectEnd()
		})
	}
}

// TestMalformed sends a packet that breaks the rules on a connection that was
// good until then.
func TestMalformed(t *testing.T) {
	for _, tt := range []bytesTest{
		{"v311/MQTT-1.5.3-1/topic name is not UTF-8", Publish(0x30, notUTF8, 0, "x")},
		{"v311/MQTT-1.5.3-1/topic name has a surrogate", Publish(0x30, surrogate, 0, "x")},
		{"v311/MQTT-1.5.3-1/topic name is overlong", Publish(0x30, overlong, 0, "x")},
		{"v311/MQTT-1.5.3-1/topic name ends in a character", Publish(0x30, cutOff, 0, "x")},
		{"v311/MQTT-1.5.3-1/topic filter has a surrogate", Packet(0x82, 0, 1, surrogate, 0)},
		{"v311/MQTT-1.5.3-1/topic filter of UNSUBSCRIBE has a surrogate", Packet(0xa2, 0, 1, surrogate)},
		{"v311/MQTT-1.5.3-2/topic name", Publish(0x30, null, 0, "x")},
		{"v311/MQTT-1.5.3-2/topic filter", Packet(0x82, 0, 1, null, 0)},

		{"v311/MQTT-2.2.2-2/PUBACK", Packet(0x41, 0, 1)},
		{"v311/MQTT-2.2.2-2/PUBREC", Packet(0x52, 0, 1)},
		{"v311/MQTT-2.2.2-2/PUBCOMP", Packet(0x78, 0, 1)},
		{"v311/MQTT-2.2.2-2/PINGREQ", []byte{0xc1, 0}},
		{"v311/MQTT-2.2.2-2/DISCONNECT", []byte{0xe2, 0}},

		{"v311/MQTT-2.3.1-1/SUBSCRIBE with identifier 0", Packet(0x82, 0, 0, "a", 0)},
		{"v311/MQTT-2.3.1-1/UNSUBSCRIBE with identifier 0", Packet(0xa2, 0, 0, "a")},
		{"v311/MQTT-2.3.1-1/PUBLISH at QoS 1 with identifier 0", Packet(0x32, "a", 0, 0, []byte("x"))},
		{"v311/MQTT-2.3.1-1/PUBLISH at QoS 2 with identifier 0", Packet(0x34, "a", 0, 0, []byte("x"))},
		{"v311/MQTT-2.3.1-1/PUBLISH at QoS 1 without identifier", Packet(0x32, "a")},

		{"v311/MQTT-3.1.0-2/second CONNECT", connectPacket(Options{ID: unique()})},

		{"v311/MQTT-3.3.1-2/DUP at QoS 0", Publish(0x38, "a", 0, "x")},
		{"v311/MQTT-3.3.1-4/QoS 3", Publish(0x36, "a", 1, "x")},
		{"v311/MQTT-3.3.1-4/QoS 3 with DUP and RETAIN", Publish(0x3f, "a", 1, "x")},
		{"v311/MQTT-3.3.2-1/no topic name", Packet(0x30)},
		{"v311/MQTT-3.3.2-1/topic name ends early", Packet(0x30, 0, 9, []byte("short"))},
		{"v311/MQTT-3.3.2-1/topic name is not UTF-8", Publish(0x30, notUTF8, 0, "x")},
		{"v311/MQTT-3.3.2-2/#", Publish(0x30, "a/#", 0, "x")},
		{"v311/MQTT-3.3.2-2/+", Publish(0x30, "a/+/b", 0, "x")},
		{"v311/MQTT-3.3.2-2/# at QoS 1", Publish(0x32, "#", 1, "x")},

		{"v311/MQTT-3.6.1-1/flags 0000", Packet(0x60, 0, 1)},
		{"v311/MQTT-3.6.1-1/flags 0011", Packet(0x63, 0, 1)},
		{"v311/MQTT-3.6.1-1/flags 1010", Packet(0x6a, 0, 1)},

		{"v311/MQTT-3.8.1-1/flags 0000", Packet(0x80, 0, 1, "a", 0)},
		{"v311/MQTT-3.8.1-1/flags 0011", Packet(0x83, 0, 1, "a", 0)},
		{"v311/MQTT-3.8.1-1/flags 1010", Packet(0x8a, 0, 1, "a", 0)},
		{"v311/MQTT-3.8.3-1/not UTF-8", Packet(0x82, 0, 1, notUTF8, 0)},
		{"v311/MQTT-3.8.3-1/second filter is not UTF-8", Packet(0x82, 0, 1, "a", 0, notUTF8, 0)},
		{"v311/MQTT-3.8.3-1/filter ends early", Packet(0x82, 0, 1, 0, 9, []byte("short"))},
		{"v311/MQTT-3.8.3-1/no QoS behind the filter", Packet(0x82, 0, 1, "a")},
		{"v311/MQTT-3.8.3-3/no filter", Packet(0x82, 0, 1)},
		{"v311/MQTT-3.8.3-4/QoS 3", Packet(0x82, 0, 1, "a", 3)},
		{"v311/MQTT-3.8.3-4/QoS 3 in the second place", Packet(0x82, 0, 1, "a", 1, "b", 3)},
		{"v311/MQTT-3.8.3-4/lowest reserved bit", Packet(0x82, 0, 1, "a", 0x04)},
		{"v311/MQTT-3.8.3-4/highest reserved bit", Packet(0x82, 0, 1, "a", 0x81)},

		{"v311/MQTT-3.10.1-1/flags 0000", Packet(0xa0, 0, 1, "a")},
		{"v311/MQTT-3.10.1-1/flags 0011", Packet(0xa3, 0, 1, "a")},
		{"v311/MQTT-3.10.1-1/flags 1010", Packet(0xaa, 0, 1, "a")},
		{"v311/MQTT-3.10.3-1/not UTF-8", Packet(0xa2, 0, 1, notUTF8)},
		{"v311/MQTT-3.10.3-1/second filter is not UTF-8", Packet(0xa2, 0, 1, "a", notUTF8)},
		{"v311/MQTT-3.10.3-1/a gap behind a filter", Packet(0xa2, 0, 1, "a", 0)},
		{"v311/MQTT-3.10.3-2/no filter", Packet(0xa2, 0, 1)},

		{"v311/MQTT-4.7.1-1/topic name", Publish(0x32, "a/#", 1, "x")},
		{"v311/MQTT-4.7.3-1/topic name", Publish(0x30, "", 0, "x")},
		{"v311/MQTT-4.7.3-1/topic name at QoS 2", Publish(0x34, "", 1, "x")},
		{"v311/MQTT-4.7.3-2/topic name", Publish(0x32, null, 1, "x")},
		{"v311/MQTT-4.7.3-2/topic filter", Packet(0x82, 0, 1, "a/\x00", 1)},
		{"v311/MQTT-4.7.3-2/topic filter of UNSUBSCRIBE", Packet(0xa2, 0, 1, "a/\x00")},

		{"v311/MQTT-4.8.0-1/packet type 0", []byte{0x00, 0}},
		{"v311/MQTT-4.8.0-1/packet type 15", []byte{0xf0, 0}},
		{"v311/MQTT-4.8.0-1/CONNACK", Packet(0x20, 0, 0)},
		{"v311/MQTT-4.8.0-1/SUBACK", Packet(0x90, 0, 1, 0)},
		{"v311/MQTT-4.8.0-1/UNSUBACK", Packet(0xb0, 0, 1)},
		{"v311/MQTT-4.8.0-1/PINGRESP", []byte{0xd0, 0}},
		{"v311/MQTT-4.8.0-1/remaining length of five bytes", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x01}},
		{"v311/MQTT-4.8.0-1/PUBACK without identifier", Packet(0x40)},
		{"v311/MQTT-4.8.0-1/PUBREL with half an identifier", Packet(0x62, 1)},
		{"v311/MQTT-4.8.0-1/PUBACK with more than an identifier", Packet(0x40, 0, 1, 0)},
		{"v311/MQTT-4.8.0-1/PINGREQ with a body", Packet(0xc0, 0)},
		{"v311/MQTT-4.8.0-1/DISCONNECT with a body", Packet(0xe0, 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := connect(t, Options{})
			c.Send(tt.send)
			c.ExpectEnd()
		})
	}
}

// TestBadFilter subscribes with filters that are UTF-8 strings but no topic
// filters: a protocol violation, which ends the connection (MQTT-4.8.0-1).
func TestBadFilter(t *testing.T) {
	for _, tt := range []struct{ name, filter string }{
		{"v311/MQTT-4.7.1-2/before the last level", "a/#/b"},
		{"v311/MQTT-4.7.1-2/end of a level", "a/b#"},
		{"v311/MQTT-4.7.1-2/begin of a level", "a/#b"},
		{"v311/MQTT-4.7.1-2/twice", "##"},
		{"v311/MQTT-4.7.1-3/end of a level", "a+"},
		{"v311/MQTT-4.7.1-3/begin of a level", "a/+b/c"},
		{"v311/MQTT-4.7.1-3/twice in a level", "++"},
		{"v311/MQTT-4.7.1-3/beside #", "a/+#"},
		{"v311/MQTT-4.7.3-1/topic filter", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := connect(t, Options{})
			c.Send(Packet(0x82, 0, 9, tt.filter, 1))
			c.ExpectEnd()
			c = connect(t, Options{})
			c.Send(Packet(0xa2, 0, 9, tt.filter))
			c.ExpectEnd()
		})
	}
}

// TestLongStrings serves the longest topic that a string can express, so that
// nothing longer can come.
func TestLongStrings(t *testing.T) {
	const most = 65_535
	t.Run("v311/MQTT-4.7.3-3/topic name and filter of 65535 bytes", func(t *testing.T) {
		t.Parallel()
		c := connect(t, Options{})
		root := unique()
		topic := root + strings.Repeat("x", most-len(root))
		c.Subscribe(topic, 1)
		c.Publish(topic, "x", 1)
		c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "x"})
		c.Unsubscribe(topic)
	})
}
