package packet

import (
	"errors"
	"strings"
	"testing"
)

// TestFaults sends what the standards forbid. The name begins with the clause
// that the fault must cite; in front of it is the version to decode in.
func TestFaults(t *testing.T) {
	const head5 = "'MQTT' 05" // of CONNECT, and in front of the flags
	for _, tt := range []struct {
		name  string
		first byte
		body  string // see unhex
		code  ReasonCode
	}{
		// fixed header
		{"v5/MQTT-3.3.1-4/QoS 3", 0x36, "'a' 0001 00", MalformedPacket},
		{"v311/MQTT-3.3.1-4/QoS 3", 0x36, "'a' 0001", MalformedPacket},
		{"v31/3.3/QoS 3", 0x36, "'a' 0001", MalformedPacket},
		{"v5/MQTT-3.3.1-2/DUP with QoS 0", 0x38, "'a' 00", MalformedPacket},
		{"v311/MQTT-3.3.1-2/DUP with QoS 0", 0x38, "'a'", MalformedPacket},
		{"v5/MQTT-3.6.1-1/PUBREL flags", 0x60, "0001", MalformedPacket},
		{"v5/MQTT-3.8.1-1/SUBSCRIBE flags", 0x80, "0001 00 'a' 00", MalformedPacket},
		{"v311/MQTT-3.8.1-1/SUBSCRIBE flags", 0x80, "0001 'a' 00", MalformedPacket},
		{"v5/MQTT-3.10.1-1/UNSUBSCRIBE flags", 0xa0, "0001 00 'a'", MalformedPacket},
		{"v5/MQTT-3.14.1-1/DISCONNECT flags", 0xe1, "", MalformedPacket},
		{"v5/MQTT-3.15.1-1/AUTH flags", 0xf1, "", MalformedPacket},
		{"v5/MQTT-2.1.3-1/PUBACK flags", 0x41, "0001", MalformedPacket},
		{"v311/MQTT-2.2.2-2/PINGREQ flags", 0xc1, "", MalformedPacket},
		{"v311/2.2.1/AUTH", 0xf0, "", MalformedPacket},
		{"v31/2.1/AUTH", 0xf0, "", MalformedPacket},
		{"v5/3.12/PINGREQ with a body", 0xc0, "00", MalformedPacket},
		{"v311/3.14/DISCONNECT with a body", 0xe0, "00", MalformedPacket},

		// PUBLISH
		{"v5/MQTT-3.3.2-1/overlong slash", 0x30, "0002 c0af 00", MalformedPacket},
		{"v5/MQTT-3.3.2-1/surrogate (MQTT-1.5.4-1)", 0x30, "0003 eda080 00", MalformedPacket},
		{"v311/MQTT-3.3.2-1/not UTF-8", 0x30, "0001 ff", MalformedPacket},
		{"v5/MQTT-4.7.3-2/null in a topic", 0x30, "0001 00 00", MalformedPacket},
		{"v5/MQTT-3.3.2-2/plus", 0x30, "'a/+' 00", TopicNameInvalid},
		{"v5/MQTT-3.3.2-2/hash", 0x30, "'#' 00", TopicNameInvalid},
		{"v311/MQTT-3.3.2-2/hash", 0x30, "'a#'", TopicNameInvalid},
		{"v31/3.3/hash", 0x30, "'a#'", TopicNameInvalid},
		{"v5/3.3.2.1/empty topic without alias", 0x30, "0000 00", ProtocolError},
		{"v311/MQTT-4.7.3-1/empty topic", 0x30, "0000", ProtocolError},
		{"v5/MQTT-2.2.1-3/packet identifier 0", 0x32, "'a' 0000 00", MalformedPacket},
		{"v311/MQTT-2.3.1-1/packet identifier 0", 0x32, "'a' 0000", MalformedPacket},
		{"v5/MQTT-3.3.2-8/alias 0", 0x30, "'a' 03 230000", TopicAliasInvalid},
		{"v5/MQTT-3.3.2-13/response topic not UTF-8", 0x30, "'a' 04 08 0001 ff", MalformedPacket},
		{"v5/MQTT-3.3.2-14/wildcard", 0x30, "'a' 04 08 '#'", ProtocolError},
		{"v5/MQTT-3.3.2-19/content type not UTF-8", 0x30, "'a' 04 03 0001 ff", MalformedPacket},
		{"v5/MQTT-1.5.7-1/user property not UTF-8", 0x30, "'a' 07 26 0001 61 0001 ff", MalformedPacket},
		{"v5/MQTT-1.5.4-2/user property with null", 0x30, "'a' 07 26 0001 61 0001 00", MalformedPacket},
		{"v5/2.2.2.2/expiry twice", 0x30, "'a' 0a 0200000001 0200000001", ProtocolError},
		{"v5/2.2.2.2/session expiry in PUBLISH", 0x30, "'a' 05 1100000001", MalformedPacket},
		{"v5/2.2.2.2/no such property", 0x30, "'a' 02 7f00", MalformedPacket},
		{"v5/3.3/payload format 2", 0x30, "'a' 02 0102", ProtocolError},
		{"v5/3.8.2.1.2/subscription identifier 0", 0x30, "'a' 02 0b00", ProtocolError},
		{"v5/3.3/property beyond the section", 0x30, "'a' 02 0200000001", MalformedPacket},

		// acknowledgements
		{"v5/MQTT-2.2.1-3/PUBACK 0", 0x40, "0000", MalformedPacket},
		{"v31/3.4/PUBACK too long", 0x40, "000100", MalformedPacket},
		{"v5/MQTT-3.4.2-1/PUBACK 0x92", 0x40, "0001 92", ProtocolError},
		{"v5/MQTT-3.5.2-1/PUBREC 0x01", 0x50, "0001 01", ProtocolError},
		{"v5/MQTT-3.6.2-1/PUBREL 0x80", 0x62, "0001 80", ProtocolError},
		{"v5/MQTT-3.7.2-1/PUBCOMP 0x80", 0x70, "0001 80", ProtocolError},
		{"v5/2.2.2.2/reason string twice", 0x40, "0001 00 08 1f'a' 1f'a'", ProtocolError},
		{"v5/3.4/property length too short", 0x40, "0001 00 00 1f'a'", MalformedPacket},

		// SUBSCRIBE, UNSUBSCRIBE and their answers
		{"v5/MQTT-3.8.3-1/not UTF-8", 0x82, "0001 00 0001 ff 00", MalformedPacket},
		{"v5/MQTT-3.8.3-2/no filter", 0x82, "0001 00", ProtocolError},
		{"v311/MQTT-3.8.3-3/no filter", 0x82, "0001", ProtocolError},
		{"v31/3.8/no filter", 0x82, "0001", ProtocolError},
		{"v5/MQTT-3.8.3-4/No Local on a shared subscription", 0x82, "0001 00 '$share/g/a' 04", ProtocolError},
		{"v5/MQTT-3.8.3-5/reserved bit 6", 0x82, "0001 00 'a' 40", MalformedPacket},
		{"v5/MQTT-3.8.3-5/reserved bit 7", 0x82, "0001 00 'a' 80", MalformedPacket},
		{"v5/3.8.3.1/QoS 3", 0x82, "0001 00 'a' 03", ProtocolError},
		{"v5/3.8.3.1/retain handling 3", 0x82, "0001 00 'a' 30", ProtocolError},
		{"v311/MQTT-3.8.3-4/QoS 3", 0x82, "0001 'a' 03", MalformedPacket},
		{"v311/MQTT-3.8.3-4/reserved bits", 0x82, "0001 'a' 04", MalformedPacket},
		{"v31/3.8/QoS 3", 0x82, "0001 'a' 03", ProtocolError},
		{"v5/2.2.2.2/two subscription identifiers", 0x82, "0001 04 0b010b02 'a' 00", ProtocolError},
		{"v5/MQTT-2.2.1-3/SUBSCRIBE 0", 0x82, "0000 00 'a' 00", MalformedPacket},
		{"v5/MQTT-3.10.3-1/not UTF-8", 0xa2, "0001 00 0001 ff", MalformedPacket},
		{"v5/MQTT-3.10.3-2/no filter", 0xa2, "0001 00", ProtocolError},
		{"v5/MQTT-3.9.3-2/reason code", 0x90, "0001 00 03", ProtocolError},
		{"v311/MQTT-3.9.3-2/return code", 0x90, "0001 03", MalformedPacket},
		{"v5/MQTT-3.11.3-2/reason code", 0xb0, "0001 00 01", ProtocolError},

		// CONNACK, DISCONNECT, AUTH
		{"v5/MQTT-3.2.2-1/flags", 0x20, "02 00 00", MalformedPacket},
		{"v5/MQTT-3.2.2-8/reason code", 0x20, "00 01 00", ProtocolError},
		{"v311/3.2.2.3/return code", 0x20, "00 06", MalformedPacket},
		{"v5/MQTT-3.14.2-1/reason code", 0xe0, "01", ProtocolError},
		{"v5/MQTT-3.15.2-1/reason code", 0xf0, "80", ProtocolError},
		{"v5/3.1.2.11.10/data without method", 0xf0, "18 04 160001 00", ProtocolError},

		// CONNECT
		{"v5/MQTT-3.1.2-3/reserved flag", 0x10, head5 + "03 0000 00 'c'", MalformedPacket},
		{"v311/MQTT-3.1.2-3/reserved flag", 0x10, "'MQTT' 04 03 0000 'c'", MalformedPacket},
		{"v5/MQTT-3.1.2-11/will QoS without will", 0x10, head5 + "0a 0000 00 'c'", MalformedPacket},
		{"v5/MQTT-3.1.2-12/will QoS 3", 0x10, head5 + "1e 0000 00 'c' 00 'w' 0000", MalformedPacket},
		{"v5/MQTT-3.1.2-13/will retain without will", 0x10, head5 + "22 0000 00 'c'", MalformedPacket},
		{"v311/MQTT-3.1.2-13/will QoS without will", 0x10, "'MQTT' 04 0a 0000 'c'", MalformedPacket},
		{"v311/MQTT-3.1.2-14/will QoS 3", 0x10, "'MQTT' 04 1e 0000 'c' 'w' 0000", MalformedPacket},
		{"v311/MQTT-3.1.2-15/will retain without will", 0x10, "'MQTT' 04 22 0000 'c'", MalformedPacket},
		{"v311/MQTT-3.1.2-22/password without user name", 0x10, "'MQTT' 04 42 0000 'c' 'p'", MalformedPacket},
		{"v311/MQTT-3.1.3-8/empty client identifier, stored session", 0x10, "'MQTT' 04 00 0000 0000", ClientIdentifierNotValid},
		{"v31/3.1/empty client identifier", 0x10, "'MQIsdp' 03 02 0000 0000", ClientIdentifierNotValid},
		{"v5/MQTT-3.1.3-4/client identifier not UTF-8", 0x10, head5 + "02 0000 00 0001 ff", MalformedPacket},
		{"v5/MQTT-3.1.3-11/will topic not UTF-8", 0x10, head5 + "06 0000 00 'c' 00 0001 ff 0000", MalformedPacket},
		{"v5/MQTT-4.7.0-1/will topic with wildcard", 0x10, head5 + "06 0000 00 'c' 00 '#' 0000", TopicNameInvalid},
		{"v5/MQTT-3.1.3-12/user name not UTF-8", 0x10, head5 + "82 0000 00 'c' 0001 ff", MalformedPacket},
		{"v5/3.1/user name missing (MQTT-3.1.2-17)", 0x10, head5 + "82 0000 00 'c'", MalformedPacket},
		{"v5/3.1/password unannounced (MQTT-3.1.2-18)", 0x10, head5 + "02 0000 00 'c' 'p'", MalformedPacket},
		{"v5/3.1.2.11.3/receive maximum 0", 0x10, head5 + "02 0000 03 210000 'c'", ProtocolError},
		{"v5/3.1.2.11.4/maximum packet size 0", 0x10, head5 + "02 0000 05 2700000000 'c'", ProtocolError},
		{"v5/3.1/request problem information 2", 0x10, head5 + "02 0000 02 1702 'c'", ProtocolError},
		{"v5/2.2.2.2/topic alias in a will", 0x10, head5 + "06 0000 00 'c' 03 230001 'w' 0000", MalformedPacket},
		{"v5/MQTT-2.1.3-1/CONNECT flags", 0x11, head5 + "02 0000 00 'c'", MalformedPacket},
		{"v5/MQTT-3.1.2-1/protocol name", 0x10, "'MQTX' 05 02 0000 00 'c'", UnsupportedProtocolVersion},
		{"v311/MQTT-3.1.2-2/level 6", 0x10, "'MQTT' 06 02 0000 00 'c'", UnsupportedProtocolVersion},
		{"v311/MQTT-3.1.2-2/level 127", 0x10, "'MQTT' 7f 02 0000 00 'c'", UnsupportedProtocolVersion},
		{"v311/MQTT-3.1.2-2/level 6 of a bridge", 0x10, "'MQTT' 86 02 0000 00 'c'", UnsupportedProtocolVersion},
		{"v311/MQTT-3.1.2-2/level 0 of a bridge", 0x10, "'MQTT' 80 02 0000 00 'c'", UnsupportedProtocolVersion},
		{"v311/MQTT-3.1.2-2/level 3 of a bridge", 0x10, "'MQTT' 83 02 0000 'c'", UnsupportedProtocolVersion},
		{"v31/3.1/level 4 of a bridge", 0x10, "'MQIsdp' 84 02 0000 'c'", UnsupportedProtocolVersion},
		{"v311/MQTT-3.1.2-2/level 3", 0x10, "'MQTT' 03 02 0000 'c'", UnsupportedProtocolVersion},
		{"v31/3.1/level 4", 0x10, "'MQIsdp' 04 02 0000 'c'", UnsupportedProtocolVersion},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name, rest, _ := strings.Cut(tt.name, "/")
			statement, _, _ := strings.Cut(rest, "/")
			v := map[string]Version{"v31": V31, "v311": V311, "v5": V5}[name]
			p, err := decode(v, tt.first, unhex(t, tt.body))
			f, ok := errors.AsType[*Fault](err)
			if !ok {
				t.Fatalf("error is %v, want a *Fault", err)
			}
			if want := name + "/" + statement; f.Code != tt.code || f.Clause != want {
				t.Errorf("got %v; want reason 0x%02x, %s", f, uint8(tt.code), want)
			}
			if c, ok := p.(connect); ok && c.Version != v {
				t.Errorf("CONNECT is to be answered in %v, want %v", c.Version, v)
			}
		})
	}
}

// TestLegal sends what is unusual and allowed.
func TestLegal(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first byte
		body  string
	}{
		{"v5/MQTT-1.5.4-3/byte order mark in a topic", 0x30, "0003 efbbbf 00"},
		{"v5/empty topic with alias", 0x30, "0000 03 230001"},
		{"v5/password without user name", 0x10, "'MQTT' 05 42 0000 00 'c' 'p'"},
		{"v5/empty client identifier", 0x10, "'MQTT' 05 00 0000 00 0000"},
		{"v311/MQTT-3.1.3-6/empty client identifier, clean session", 0x10, "'MQTT' 04 02 0000 0000"},
		{"v31/user name announced and missing", 0x10, "'MQIsdp' 03 c2 0000 'c'"},
		{"v31/password announced and missing", 0x10, "'MQIsdp' 03 c2 0000 'c' 'u'"},
		{"v31/SUBSCRIBE with DUP", 0x8a, "0001 'a' 00"},
		{"v31/PUBREL with DUP", 0x6a, "0001"},
		{"v31/PUBLISH with DUP and QoS 0", 0x38, "'a'"},
		{"v31/unused bits of the requested QoS", 0x82, "0001 'a' f1"},
		{"v5/No Local", 0x82, "0001 00 'a' 04"},
		{"v5/PUBACK with reason code only", 0x40, "0001 10"},
		{"v5/PUBACK with empty properties", 0x40, "0001 10 00"},
		{"v5/DISCONNECT with reason code only", 0xe0, "04"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name, _, _ := strings.Cut(tt.name, "/")
			v := map[string]Version{"v31": V31, "v311": V311, "v5": V5}[name]
			if _, err := decode(v, tt.first, unhex(t, tt.body)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestUnknownProtocol has a CONNECT of a protocol that is not MQTT and of no
// level that we know: there is no version to answer in.
func TestUnknownProtocol(t *testing.T) {
	var c Connect
	err := c.Decode(0x10, unhex(t, "'HTTP' 09 02 0000 'c'"))
	if code(err) != UnsupportedProtocolVersion || c.Version != 0 {
		t.Errorf("got %v, version %v", err, c.Version)
	}
}
