package packet

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the vectors under testdata")

// vector is a packet with a description.
type vector struct {
	about string
	p     appender
}

func user(pairs ...string) (u []UserProperty) {
	for i := 0; i < len(pairs); i += 2 {
		u = append(u, UserProperty{[]byte(pairs[i]), []byte(pairs[i+1])})
	}
	return u
}

func with(p Properties, ids ...PropertyID) Properties {
	p.Set(ids...)
	return p
}

// forward is what receivers get unaltered, all of it.
func forward() []byte {
	p := with(Properties{
		PayloadFormat: 1, ContentType: []byte("text/plain"), ResponseTopic: []byte("re/ply"),
		CorrelationData: []byte{0, 1, 2}, User: user("k", "v", "k", "w"),
	},
		PropPayloadFormat, PropContentType, PropResponseTopic, PropCorrelationData)
	return p.AppendWire(nil)
}

// vectors returns packets of all types that v knows.
func vectors(v Version) []vector {
	some := Properties{}
	why := Properties{}
	if v == V5 {
		some = Properties{User: user("a", "b")}
		why = with(Properties{ReasonString: []byte("because"), User: user("a", "b")}, PropReasonString)
	}
	id := []byte("client")
	topic := []byte("a/b")
	vs := []vector{
		{"CONNECT, only what must be", connect{&Connect{Version: v, CleanStart: true, ClientID: id}}},
		{"CONNECT with everything but properties", connect{&Connect{
			Version: v, KeepAlive: 60, ClientID: id, UserName: []byte("me"), Password: []byte("secret"),
			HasWill: true, Will: Will{QoS: 2, Retain: true, Topic: []byte("gone"), Payload: []byte("bye")},
		}}},
		{"CONNACK, accepted", &Connack{}},
		{"CONNACK, session present", &Connack{SessionPresent: v != V31}},
		{"CONNACK, not authorized", &Connack{Code: NotAuthorized}},
		{"PUBLISH, QoS 0", &Publish{Topic: topic, Payload: []byte("hello")}},
		{"PUBLISH, QoS 1, retain, no payload", &Publish{QoS: 1, Retain: true, ID: 10, Topic: topic}},
		{"PUBLISH, QoS 2, DUP, 200 bytes", &Publish{QoS: 2, Dup: true, ID: 65535, Topic: topic, Payload: bytes.Repeat([]byte{'x'}, 200)}},
		{"PUBACK", &Ack{Type: PUBACK, ID: 1}},
		{"PUBREC", &Ack{Type: PUBREC, ID: 2}},
		{"PUBREL", &Ack{Type: PUBREL, ID: 3}},
		{"PUBCOMP", &Ack{Type: PUBCOMP, ID: 4}},
		{"SUBSCRIBE, two filters", &Subscribe{ID: 5, Properties: some, Subscriptions: []Subscription{{Filter: []byte("a/+"), QoS: 1}, {Filter: []byte("#")}}}},
		{"SUBACK, one refused", &Suback{ID: 5, Properties: why, Codes: []ReasonCode{GrantedQoS1, UnspecifiedError}}},
		{"UNSUBSCRIBE, two filters", &Unsubscribe{ID: 6, Properties: some, Filters: [][]byte{[]byte("a/+"), []byte("#")}}},
		{"PINGREQ", Pingreq{}},
		{"PINGRESP", Pingresp{}},
		{"DISCONNECT", &Disconnect{}},
	}
	if v != V5 {
		return append(vs, vector{"UNSUBACK", &Unsuback{ID: 6}})
	}
	auth := with(Properties{AuthMethod: []byte("SCRAM"), AuthData: []byte{1, 2}}, PropAuthMethod, PropAuthData)
	return append(vs,
		vector{"UNSUBACK, one unknown", &Unsuback{ID: 6, Properties: why, Codes: []ReasonCode{Success, NoSubscriptionExisted}}},
		vector{"CONNECT with every property", connect{&Connect{
			Version: V5, ClientID: id, HasWill: true,
			Properties: with(Properties{
				SessionExpiry: 3600, AuthMethod: []byte("SCRAM"), AuthData: []byte{1}, RequestProblemInfo: true,
				RequestResponseInfo: true, ReceiveMaximum: 20, TopicAliasMaximum: 10, MaximumPacketSize: 1 << 20, User: user("a", "b"),
			},
				PropSessionExpiry, PropAuthMethod, PropAuthData, PropRequestProblemInfo, PropRequestResponseInfo, PropReceiveMaximum,
				PropTopicAliasMaximum, PropMaximumPacketSize),
			Will: Will{Topic: []byte("gone"), Delay: 5, Properties: PublishProperties{Forward: forward(), HasExpiry: true, MessageExpiry: 9}},
		}}},
		vector{"CONNACK with every property", &Connack{Properties: with(Properties{
			SessionExpiry: 1, AssignedClientID: []byte("x"), ServerKeepAlive: 30,
			AuthMethod: []byte("SCRAM"), AuthData: []byte{1}, ResponseInfo: []byte("r/"), ServerReference: []byte("other"), ReasonString: []byte("why"),
			ReceiveMaximum: 2, TopicAliasMaximum: 3, MaximumQoS: 1, RetainAvailable: true, User: user("a", "b"), MaximumPacketSize: 4,
			WildcardAvailable: true, SharedAvailable: true,
		},
			PropSessionExpiry, PropAssignedClientID, PropServerKeepAlive, PropAuthMethod, PropAuthData, PropResponseInfo, PropServerReference,
			PropReasonString, PropReceiveMaximum, PropTopicAliasMaximum, PropMaximumQoS, PropRetainAvailable, PropMaximumPacketSize,
			PropWildcardAvailable, PropSubscriptionIDsUsable, PropSharedAvailable)}},
		vector{"PUBLISH with every property", &Publish{QoS: 1, ID: 7, Topic: topic, Payload: []byte("hi"), Properties: PublishProperties{
			Forward:   forward(),
			HasExpiry: true, MessageExpiry: 60, TopicAlias: 3, SubscriptionIDs: []uint32{1, 268435455},
		}}},
		vector{"PUBLISH by topic alias", &Publish{Payload: []byte("hi"), Properties: PublishProperties{TopicAlias: 3}}},
		vector{"PUBACK with a reason code", &Ack{Type: PUBACK, ID: 1, Code: NoMatchingSubscribers}},
		vector{"PUBREC with properties", &Ack{Type: PUBREC, ID: 1, Code: QuotaExceeded, ReasonString: []byte("full"), User: user("a", "b")}},
		vector{"PUBREL, unknown packet identifier", &Ack{Type: PUBREL, ID: 1, Code: PacketIdentifierNotFound}},
		vector{"SUBSCRIBE with every option", &Subscribe{
			ID: 8, Properties: Properties{SubscriptionIDs: []uint32{128}},
			Subscriptions: []Subscription{{Filter: topic, QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: SendNoRetained}},
		}},
		vector{"DISCONNECT with will", &Disconnect{Code: DisconnectWithWill}},
		vector{"DISCONNECT with properties", &Disconnect{Code: ServerMoved, Properties: with(Properties{
			SessionExpiry: 5, ServerReference: []byte("there"),
			ReasonString: []byte("moved"),
		}, PropSessionExpiry, PropServerReference, PropReasonString)}},
		vector{"AUTH, success without properties", &Auth{}},
		vector{"AUTH, continue", &Auth{Code: ContinueAuthentication, Properties: auth}},
	)
}

// TestVectors compares the encoders with testdata/<version>.txt, and reads
// every packet of that file back.
func TestVectors(t *testing.T) {
	for _, v := range []Version{V31, V311, V5} {
		t.Run(v.String(), func(t *testing.T) {
			var out strings.Builder
			for _, vec := range vectors(v) {
				fmt.Fprintf(&out, "# %s\n%s\n\n", vec.about, hexLines(vec.p.Append(nil, v)))
			}
			file := "testdata/" + v.String() + ".txt"
			if *update {
				if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("%s differs from what the encoders say:\n%s", file, out.String())
			}
			for _, paragraph := range strings.Split(strings.TrimSpace(string(want)), "\n\n") {
				about, digits, _ := strings.Cut(paragraph, "\n")
				readBack(t, v, about, unhex(t, strings.ReplaceAll(digits, "\n", "")))
			}
		})
	}
}

// readBack decodes a packet and expects the same bytes from its encoder.
func readBack(t *testing.T, v Version, about string, b []byte) {
	t.Helper()
	first, body, size, err := Split(b, MaxSize)
	if err != nil || size != len(b) {
		t.Errorf("%s: Split = size %d, %v", about, size, err)
		return
	}
	p, err := decode(v, first, body)
	if err != nil {
		t.Errorf("%s: %v", about, err)
		return
	}
	if again := p.Append(nil, v); !bytes.Equal(again, b) {
		t.Errorf("%s: encoded again\n% x\nwant\n% x", about, again, b)
	}
}

func hexLines(b []byte) string {
	var lines []string
	for len(b) > 0 {
		n := min(len(b), 32)
		lines = append(lines, fmt.Sprintf("% x", b[:n]))
		b = b[n:]
	}
	return strings.Join(lines, "\n")
}

// TestTruncated cuts every vector at every length: the stream form is
// incomplete, and a body that is too short for its packet type is a fault or
// another legal packet, never a panic.
func TestTruncated(t *testing.T) {
	for _, v := range []Version{V31, V311, V5} {
		for _, vec := range vectors(v) {
			b := vec.p.Append(nil, v)
			for n := range len(b) {
				if _, _, size, err := Split(b[:n], MaxSize); size != 0 || err != nil {
					t.Errorf("%v %s: Split of %s = size %d, %v", v, vec.about, hex.EncodeToString(b[:n]), size, err)
				}
			}
			first, body, _, _ := Split(b, MaxSize)
			for n := range len(body) {
				p, err := decode(v, first, body[:n:n])
				if err == nil {
					readBack(t, v, vec.about+", truncated", p.Append(nil, v))
				} else if code(err) == 0xff {
					t.Errorf("%v %s: error is no *Fault: %v", v, vec.about, err)
				}
			}
		}
	}
}
