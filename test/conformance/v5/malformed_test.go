package v5

import (
	"slices"
	"strings"
	"testing"

	"midge/internal/packet"
	"midge/test/conformance/mqtt3"
	. "midge/test/conformance/mqtt5"
)

// Strings that are not what section 1.5.4 asks for.
const (
	notUTF8   = "a\xffb"
	surrogate = "a\xed\xa0\x80b" // U+D800
	overlong  = "a\xc0\xafb"     // U+002F in two bytes
	cutOff    = "a\xe2\x82"      // two bytes of U+20AC
	null      = "a\x00b"
)

// badTest is what a client sends, and must lose its connection for, with one of
// the reason codes.
type badTest struct {
	name  string
	send  []byte
	codes []packet.ReasonCode
}

// Most faults are of the form of a packet, or of its sense. The standard often
// leaves open which of the two.
var (
	malformed = []packet.ReasonCode{packet.MalformedPacket}
	protocol  = []packet.ReasonCode{packet.ProtocolError}
	either    = []packet.ReasonCode{packet.MalformedPacket, packet.ProtocolError}
	badTopic  = []packet.ReasonCode{packet.TopicNameInvalid, packet.MalformedPacket, packet.ProtocolError}
	badAlias  = []packet.ReasonCode{packet.TopicAliasInvalid}
)

// The connect flags.
const (
	cleanStart  = mqtt3.CleanSession
	hasWill     = mqtt3.HasWill
	willQoS1    = mqtt3.WillQoS1
	willQoS2    = mqtt3.WillQoS2
	willQoS3    = mqtt3.WillQoS3
	willRetain  = mqtt3.WillRetain
	hasPassword = mqtt3.HasPassword
	hasUserName = mqtt3.HasUserName
)

// connectPacket is CONNECT with these properties, with a property length in
// front, and payload. Keep-alive is an hour, so that no test meets it by chance.
func connectPacket(flags int, properties []byte, payload ...any) []byte {
	return Packet(CONNECT, slices.Concat([]any{"MQTT", 5, flags, packet.ID(3600), properties}, payload)...)
}

// TestMalformedConnect sends a CONNECT that breaks the rules.
func TestMalformedConnect(t *testing.T) {
	none := Properties()
	const will = cleanStart | hasWill
	tests := []badTest{
		{"v5/MQTT-1.5.4-1/client identifier is not UTF-8", connectPacket(cleanStart, none, notUTF8), malformed},
		{"v5/MQTT-1.5.4-1/client identifier has a surrogate", connectPacket(cleanStart, none, surrogate), malformed},
		{"v5/MQTT-1.5.4-1/client identifier is overlong", connectPacket(cleanStart, none, overlong), malformed},
		{"v5/MQTT-1.5.4-1/client identifier ends in a character", connectPacket(cleanStart, none, cutOff), malformed},
		{"v5/MQTT-1.5.4-1/authentication method", connectPacket(cleanStart, Properties(0x15, surrogate), unique()), malformed},
		{"v5/MQTT-1.5.4-1/content type of the will", connectPacket(will, none, unique(), Properties(0x03, surrogate), "a", "x"), malformed},
		{"v5/MQTT-1.5.4-1/response topic of the will", connectPacket(will, none, unique(), Properties(0x08, surrogate), "a", "x"), malformed},
		{"v5/MQTT-1.5.4-1/will topic", connectPacket(will, none, unique(), none, surrogate, "x"), malformed},
		{"v5/MQTT-1.5.4-1/user name", connectPacket(cleanStart|hasUserName, none, unique(), surrogate), malformed},
		{"v5/MQTT-1.5.4-2/client identifier", connectPacket(cleanStart, none, null), malformed},
		{"v5/MQTT-1.5.4-2/will topic", connectPacket(will, none, unique(), none, null, "x"), malformed},
		{"v5/MQTT-1.5.4-2/user name", connectPacket(cleanStart|hasUserName, none, unique(), null), malformed},
		{"v5/MQTT-1.5.5-1/property length of five bytes", connectPacket(cleanStart, []byte{0x80, 0x80, 0x80, 0x80, 1}, unique()), malformed},
		{"v5/MQTT-1.5.7-1/name", connectPacket(cleanStart, Properties(0x26, surrogate, "value"), unique()), malformed},
		{"v5/MQTT-1.5.7-1/value", connectPacket(cleanStart, Properties(0x26, "name", surrogate), unique()), malformed},
		{"v5/MQTT-1.5.7-1/null in the name", connectPacket(cleanStart, Properties(0x26, null, "value"), unique()), malformed},
		{"v5/MQTT-1.5.7-1/null in the value", connectPacket(cleanStart, Properties(0x26, "name", null), unique()), malformed},
		{"v5/MQTT-1.5.7-1/in the will", connectPacket(will, none, unique(), Properties(0x26, "name", surrogate), "a", "x"), malformed},

		{"v5/MQTT-2.1.3-1/CONNECT", append([]byte{0x11}, connectPacket(cleanStart, none, unique())[1:]...), malformed},
		{"v5/MQTT-2.2.2-1/CONNECT without property length", connectPacket(cleanStart, nil, unique()), either},
		{"v5/MQTT-2.2.2-1/will without property length", connectPacket(will, none, unique(), "a", "x"), either},

		{"v5/MQTT-3.1.2-3/reserved flag", connectPacket(cleanStart|1, none, unique()), malformed},
		{"v5/MQTT-3.1.2-9/neither will properties, topic nor message", connectPacket(will, none, unique()), malformed},
		{"v5/MQTT-3.1.2-9/neither will topic nor will message", connectPacket(will, none, unique(), none), malformed},
		{"v5/MQTT-3.1.2-9/no will message", connectPacket(will, none, unique(), none, "a"), malformed},
		{"v5/MQTT-3.1.2-9/will without flag", connectPacket(cleanStart, none, unique(), none, "a", "x"), malformed},
		{"v5/MQTT-3.1.2-11/will QoS 1", connectPacket(cleanStart|willQoS1, none, unique()), either},
		{"v5/MQTT-3.1.2-11/will QoS 2", connectPacket(cleanStart|willQoS2, none, unique()), either},
		{"v5/MQTT-3.1.2-12/will QoS 3", connectPacket(will|willQoS3, none, unique(), none, "a", "x"), malformed},
		{"v5/MQTT-3.1.2-13/will retain", connectPacket(cleanStart|willRetain, none, unique()), either},
		{"v5/MQTT-3.1.2-16/user name without flag", connectPacket(cleanStart, none, unique(), "user"), malformed},
		{"v5/MQTT-3.1.2-17/no user name", connectPacket(cleanStart|hasUserName, none, unique()), malformed},
		{"v5/MQTT-3.1.2-18/password without flag", connectPacket(cleanStart|hasUserName, none, unique(), "user", "secret"), malformed},
		{"v5/MQTT-3.1.2-19/no password", connectPacket(cleanStart|hasPassword, none, unique()), malformed},
		{"v5/MQTT-3.1.2-19/no password behind the user name", connectPacket(cleanStart|hasUserName|hasPassword, none, unique(), "user"), malformed},

		{"v5/MQTT-3.1.3-1/will in front of the client identifier", connectPacket(will, none, none, "a", "x", unique()), either},
		{"v5/MQTT-3.1.3-3/no client identifier", connectPacket(cleanStart, none), malformed},
		{"v5/MQTT-3.1.3-4/client identifier is not UTF-8", connectPacket(cleanStart, none, notUTF8), []packet.ReasonCode{packet.MalformedPacket, packet.ClientIdentifierNotValid}},
		{"v5/MQTT-3.1.3-11/will topic is not UTF-8", connectPacket(will, none, unique(), none, notUTF8, "x"), malformed},
		{"v5/MQTT-3.1.3-12/user name is not UTF-8", connectPacket(cleanStart|hasUserName, none, unique(), notUTF8), malformed},

		{"v5/MQTT-3.1.4-1/keep-alive ends early", Packet(CONNECT, "MQTT", 5, 2, 0), malformed},
		{"v5/MQTT-3.1.4-1/client identifier ends early", connectPacket(cleanStart, none, 0, 9, []byte("short")), malformed},
		{"v5/MQTT-3.1.4-1/bytes behind the payload", connectPacket(cleanStart, none, unique(), 0), malformed},
		{"v5/MQTT-3.1.4-1/properties go beyond the packet", connectPacket(cleanStart, []byte{100}, unique()), malformed},
		{"v5/MQTT-3.1.4-1/property goes beyond the properties", connectPacket(cleanStart, []byte{3, 0x11, 0, 0}, 0, 9, unique()), malformed},
		{"v5/MQTT-3.1.4-1/property without value", connectPacket(cleanStart, Properties(0x21), unique()), malformed},
		{"v5/MQTT-3.1.4-1/receive maximum 0", connectPacket(cleanStart, Properties(0x21, 0, 0), unique()), protocol},
		{"v5/MQTT-3.1.4-1/maximum packet size 0", connectPacket(cleanStart, Properties(0x27, Four(0)), unique()), protocol},
		{"v5/MQTT-3.1.4-1/request problem information 2", connectPacket(cleanStart, Properties(0x17, 2), unique()), protocol},
		{"v5/MQTT-3.1.4-1/request response information 2", connectPacket(cleanStart, Properties(0x19, 2), unique()), protocol},
		{"v5/MQTT-3.1.4-1/authentication data without method", connectPacket(cleanStart, Properties(0x16, "x"), unique()), protocol},
		{"v5/MQTT-3.1.4-1/payload format 2 of the will", connectPacket(will, none, unique(), Properties(0x01, 2), "a", "x"), either},
		{"v5/MQTT-3.1.4-1/unknown property of the will", connectPacket(will, none, unique(), Properties(0x7e, 2), "a", "x"), malformed},
		{"v5/MQTT-3.1.4-1/topic alias of the will", connectPacket(will, none, unique(), Properties(0x23, 0, 1), "a", "x"), either},
		{"v5/MQTT-3.1.4-1/session expiry among the will properties", connectPacket(will, none, unique(), Properties(0x11, Four(1)), "a", "x"), either},
	}
	for _, p := range []struct {
		name string
		once []byte
	}{
		{"session expiry", mqtt3.Join(0x11, Four(1))},
		{"receive maximum", mqtt3.Join(0x21, 0, 1)},
		{"maximum packet size", mqtt3.Join(0x27, 0, 0, 1, 0)},
		{"topic alias maximum", mqtt3.Join(0x22, 0, 1)},
		{"request response information", mqtt3.Join(0x19, 1)},
		{"request problem information", mqtt3.Join(0x17, 1)},
		{"authentication method", mqtt3.Join(0x15, "x")},
		{"authentication data", mqtt3.Join(0x15, "x", 0x16, "x", 0x16, "x")},
	} {
		tests = append(tests, badTest{"v5/MQTT-3.1.4-1/twice: " + p.name, connectPacket(cleanStart, Properties(p.once, p.once), unique()), protocol})
	}
	for _, p := range []struct {
		name string
		once []byte
	}{
		{"will delay", mqtt3.Join(0x18, Four(1))},
		{"payload format", mqtt3.Join(0x01, 1)},
		{"message expiry", mqtt3.Join(0x02, Four(1))},
		{"content type", mqtt3.Join(0x03, "x")},
		{"response topic", mqtt3.Join(0x08, "x")},
		{"correlation data", mqtt3.Join(0x09, "x")},
	} {
		tests = append(tests, badTest{
			"v5/MQTT-3.1.4-1/twice in the will: " + p.name,
			connectPacket(will, none, unique(), Properties(p.once, p.once), "a", "x"), protocol,
		})
	}
	for _, p := range []struct {
		name     string
		property []byte
	}{
		{"no such property", mqtt3.Join(0x7e, 0)},
		{"property 0", mqtt3.Join(0x00, 0)},
		{"assigned client identifier", mqtt3.Join(0x12, "x")},
		{"server keep-alive", mqtt3.Join(0x13, 0, 1)},
		{"topic alias", mqtt3.Join(0x23, 0, 1)},
		{"reason string", mqtt3.Join(0x1f, "x")},
		{"will delay", mqtt3.Join(0x18, Four(1))},
		{"maximum QoS", mqtt3.Join(0x24, 1)},
		{"subscription identifier", mqtt3.Join(0x0b, 1)},
	} {
		tests = append(tests, badTest{"v5/MQTT-3.1.4-1/" + p.name, connectPacket(cleanStart, Properties(p.property), unique()), either})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := dial(t)
			c.Send(tt.send)
			c.ExpectRefused(tt.codes...)
		})
	}
}

// TestNotConnect sends something else first. A server must not answer that, not
// even with DISCONNECT (MQTT-3.14.0-1).
func TestNotConnect(t *testing.T) {
	for _, tt := range []struct {
		name string
		send []byte
	}{
		{"v5/MQTT-3.1.0-1/PUBLISH", Packet(PUBLISH, "a", 0, []byte("x"))},
		{"v5/MQTT-3.1.0-1/PUBLISH at QoS 1", Packet(0x32, "a", 0, 1, 0, []byte("x"))},
		{"v5/MQTT-3.1.0-1/PUBACK", Packet(PUBACK, 0, 1)},
		{"v5/MQTT-3.1.0-1/PUBREL", Packet(PUBREL, 0, 1)},
		{"v5/MQTT-3.1.0-1/SUBSCRIBE", Packet(SUBSCRIBE, 0, 1, 0, "a", 0)},
		{"v5/MQTT-3.1.0-1/UNSUBSCRIBE", Packet(UNSUBSCRIBE, 0, 1, 0, "a")},
		{"v5/MQTT-3.1.0-1/PINGREQ", Packet(PINGREQ)},
		{"v5/MQTT-3.1.0-1/DISCONNECT", Packet(DISCONNECT)},
		{"v5/MQTT-3.1.0-1/AUTH", Packet(AUTH, 0x19, Properties(0x15, "x"))},
		{"v5/MQTT-3.1.0-1/CONNACK", Packet(0x20, 0, 0, 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := dial(t)
			c.Send(tt.send)
			c.ExpectEnd()
		})
	}
}

// publish is a PUBLISH at QoS 0 with these properties.
func publish(topic string, properties ...any) []byte {
	return Packet(PUBLISH, topic, Properties(properties...), []byte("x"))
}

// TestMalformed sends a packet that breaks the rules on a connection that was
// good until then.
func TestMalformed(t *testing.T) {
	tests := []badTest{
		{"v5/MQTT-1.5.4-1/topic name is not UTF-8", publish(notUTF8), malformed},
		{"v5/MQTT-1.5.4-1/topic name has a surrogate", publish(surrogate), malformed},
		{"v5/MQTT-1.5.4-1/topic name is overlong", publish(overlong), malformed},
		{"v5/MQTT-1.5.4-1/topic name ends in a character", publish(cutOff), malformed},
		{"v5/MQTT-1.5.4-1/topic filter has a surrogate", Packet(SUBSCRIBE, 0, 1, 0, surrogate, 0), malformed},
		{"v5/MQTT-1.5.4-1/topic filter of UNSUBSCRIBE has a surrogate", Packet(UNSUBSCRIBE, 0, 1, 0, surrogate), malformed},
		{"v5/MQTT-1.5.4-1/reason string of PUBACK", Packet(PUBACK, 0, 1, 0x80, Properties(0x1f, surrogate)), malformed},
		{"v5/MQTT-1.5.4-1/reason string of DISCONNECT", Packet(DISCONNECT, 0x80, Properties(0x1f, surrogate)), malformed},
		{"v5/MQTT-1.5.4-2/topic name", publish(null), append(badTopic, packet.MalformedPacket)},
		{"v5/MQTT-1.5.4-2/topic filter", Packet(SUBSCRIBE, 0, 1, 0, null, 0), malformed},
		{"v5/MQTT-1.5.4-2/topic filter of UNSUBSCRIBE", Packet(UNSUBSCRIBE, 0, 1, 0, null), malformed},
		{"v5/MQTT-1.5.4-2/content type", publish("a", 0x03, null), malformed},
		// Section 1.5.5 has a consequence for a fifth byte only.
		{"v5/MQTT-1.5.5-1/remaining length of five bytes", []byte{PUBLISH, 0x80, 0x80, 0x80, 0x80, 0x01}, malformed},
		{"v5/MQTT-1.5.5-1/property length of five bytes", Packet(PUBLISH, "a", 0x80, 0x80, 0x80, 0x80, 1, []byte("x")), malformed},
		{"v5/MQTT-1.5.7-1/name", publish("a", 0x26, surrogate, "value"), malformed},
		{"v5/MQTT-1.5.7-1/value", publish("a", 0x26, "name", surrogate), malformed},
		{"v5/MQTT-1.5.7-1/null", publish("a", 0x26, null, "value"), malformed},
		{"v5/MQTT-1.5.7-1/name without value", publish("a", 0x26, "name"), malformed},
		{"v5/MQTT-1.5.7-1/SUBSCRIBE", Packet(SUBSCRIBE, 0, 1, Properties(0x26, "name", notUTF8), "a", 0), malformed},
		{"v5/MQTT-1.5.7-1/PUBACK", Packet(PUBACK, 0, 1, 0x80, Properties(0x26, "name", notUTF8)), malformed},

		{"v5/MQTT-2.1.3-1/PUBACK", Packet(0x41, 0, 1), malformed},
		{"v5/MQTT-2.1.3-1/PUBREC", Packet(0x52, 0, 1), malformed},
		{"v5/MQTT-2.1.3-1/PUBREL", Packet(0x60, 0, 1), malformed},
		{"v5/MQTT-2.1.3-1/PUBCOMP", Packet(0x78, 0, 1), malformed},
		{"v5/MQTT-2.1.3-1/SUBSCRIBE", Packet(0x80, 0, 1, 0, "a", 0), malformed},
		{"v5/MQTT-2.1.3-1/UNSUBSCRIBE", Packet(0xa3, 0, 1, 0, "a"), malformed},
		{"v5/MQTT-2.1.3-1/PINGREQ", Packet(0xc1), malformed},
		{"v5/MQTT-2.1.3-1/DISCONNECT", Packet(0xe2), malformed},
		{"v5/MQTT-2.1.3-1/AUTH", Packet(0xf1, 0x18, Properties(0x15, "x")), malformed},

		{"v5/MQTT-2.2.1-3/SUBSCRIBE with identifier 0", Packet(SUBSCRIBE, 0, 0, 0, "a", 0), either},
		{"v5/MQTT-2.2.1-3/UNSUBSCRIBE with identifier 0", Packet(UNSUBSCRIBE, 0, 0, 0, "a"), either},
		{"v5/MQTT-2.2.1-3/PUBLISH at QoS 1 with identifier 0", Packet(0x32, "a", 0, 0, 0, []byte("x")), either},
		{"v5/MQTT-2.2.1-3/PUBLISH at QoS 2 with identifier 0", Packet(0x34, "a", 0, 0, 0, []byte("x")), either},
		{"v5/MQTT-2.2.1-3/PUBLISH at QoS 1 without identifier", Packet(0x32, "a"), malformed},
		{"v5/MQTT-2.2.2-1/PUBLISH", Packet(PUBLISH, "a"), malformed},
		{"v5/MQTT-2.2.2-1/PUBLISH at QoS 1", Packet(0x32, "a", 0, 1), malformed},
		{"v5/MQTT-2.2.2-1/SUBSCRIBE", Packet(SUBSCRIBE, 0, 1, "a", 0), either},
		{"v5/MQTT-2.2.2-1/UNSUBSCRIBE", Packet(UNSUBSCRIBE, 0, 1, "ab"), either},

		{"v5/MQTT-3.1.0-2/second CONNECT", connectPacket(cleanStart, Properties(), unique()), protocol},

		{"v5/MQTT-3.2.2-15/packet beyond the maximum", Packet(PUBLISH, "a", 0, make([]byte, 1<<20)), []packet.ReasonCode{packet.PacketTooLarge}},
		{"v5/MQTT-3.2.2-17/topic alias beyond the maximum", publish("a", 0x23, 0xff, 0xff), badAlias},

		{"v5/MQTT-3.3.1-2/DUP at QoS 0", Packet(0x38, "a", 0, []byte("x")), either},
		{"v5/MQTT-3.3.1-4/QoS 3", Packet(0x36, "a", 0, 1, 0, []byte("x")), malformed},
		{"v5/MQTT-3.3.1-4/QoS 3 with DUP and RETAIN", Packet(0x3f, "a", 0, 1, 0, []byte("x")), malformed},
		{"v5/MQTT-3.3.2-1/no topic name", Packet(PUBLISH), malformed},
		{"v5/MQTT-3.3.2-1/topic name ends early", Packet(PUBLISH, 0, 9, []byte("short")), malformed},
		{"v5/MQTT-3.3.2-1/topic name is not UTF-8", publish(notUTF8), malformed},
		{"v5/MQTT-3.3.2-1/empty without alias", publish(""), badTopic},
		{"v5/MQTT-3.3.2-2/#", publish("a/#"), badTopic},
		{"v5/MQTT-3.3.2-2/+", publish("a/+/b"), badTopic},
		{"v5/MQTT-3.3.2-2/# at QoS 1", Packet(0x32, "#", 0, 1, 0, []byte("x")), badTopic},
		{"v5/MQTT-3.3.2-2/+ with alias", publish("a/+", 0x23, 0, 1), badTopic},
		{"v5/MQTT-3.3.2-8/topic alias 0", publish("a", 0x23, 0, 0), badAlias},
		{"v5/MQTT-3.3.2-8/topic alias 0 without topic name", publish("", 0x23, 0, 0), badAlias},
		{"v5/MQTT-3.3.2-9/topic alias beyond the maximum", publish("a", 0x23, 0xff, 0xff), badAlias},
		{"v5/MQTT-3.3.2-7/topic alias that nothing has set", publish("", 0x23, 0, 1), protocol},
		{"v5/MQTT-3.3.2-13/not UTF-8", publish("a", 0x08, notUTF8), malformed},
		{"v5/MQTT-3.3.2-14/#", publish("a", 0x08, "a/#"), badTopic},
		{"v5/MQTT-3.3.2-14/+", publish("a", 0x08, "+"), badTopic},
		{"v5/MQTT-3.3.2-19/not UTF-8", publish("a", 0x03, notUTF8), malformed},
		{"v5/MQTT-3.3.4-6/subscription identifier", publish("a", 0x0b, 1), protocol},
		{"v5/MQTT-3.3.4-6/two subscription identifiers", publish("a", 0x0b, 1, 0x0b, 2), protocol},

		// What a PUBLISH is made of, beyond single statements (section 3.3.2.3).
		{"v5/MQTT-4.13.1-1/PUBLISH: payload format 2", publish("a", 0x01, 2), either},
		{"v5/MQTT-4.13.1-1/PUBLISH: no such property", publish("a", 0x7e, 2), malformed},
		{"v5/MQTT-4.13.1-1/PUBLISH: session expiry", publish("a", 0x11, Four(1)), either},
		{"v5/MQTT-4.13.1-1/PUBLISH: properties go beyond the packet", Packet(PUBLISH, "a", 9, 0x01, 1), malformed},
		{"v5/MQTT-4.13.1-1/PUBLISH: property goes beyond the properties", Packet(PUBLISH, "a", 3, 0x02, 0, 0, 0, 0), malformed},
	}
	for _, p := range []struct {
		name string
		once []byte
	}{
		{"payload format", mqtt3.Join(0x01, 1)},
		{"message expiry", mqtt3.Join(0x02, Four(9))},
		{"topic alias", mqtt3.Join(0x23, 0, 1)},
		{"response topic", mqtt3.Join(0x08, "a")},
		{"correlation data", mqtt3.Join(0x09, "a")},
		{"content type", mqtt3.Join(0x03, "a")},
	} {
		tests = append(tests, badTest{"v5/MQTT-4.13.1-1/PUBLISH: twice: " + p.name, publish("a", p.once, p.once), protocol})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := connect(t)
			c.Send(tt.send)
			c.ExpectDisconnect(tt.codes...)
		})
	}
}

// TestAfterFault proves that what comes behind a fault is not processed.
func TestAfterFault(t *testing.T) {
	run(t, []test{
		{"v5/MQTT-3.1.0-2/packets behind a second CONNECT", func(t *testing.T) {
			topic := strings.Repeat(unique(), 2)
			watcher, witness := connect(t), connect(t)
			watcher.Subscribe(topic, 1)
			b := newBarrier(watcher)
			c := connect(t)
			c.Offer(connectPacket(cleanStart, Properties(), unique()), publish(topic))
			c.ExpectDisconnect(packet.ProtocolError)
			b.Silent(witness)
		}},
	})
}
