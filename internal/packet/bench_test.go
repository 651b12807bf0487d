package packet

import (
	"bytes"
	"testing"
)

// benchPublish returns a packet with a topic of 27 bytes and a payload of 64.
func benchPublish(qos QoS) *Publish {
	p := &Publish{QoS: qos, Topic: []byte("plant/7/line/3/temperature1"), Payload: bytes.Repeat([]byte{'x'}, 64)}
	if qos > 0 {
		p.ID = 7
	}
	return p
}

func benchDecode(b *testing.B, v Version, in *Publish) {
	wire := in.Append(nil, v)
	var p Publish
	b.ReportAllocs()
	for b.Loop() {
		first, body, _, err := Split(wire, 1<<20)
		if err == nil {
			err = p.Decode(v, first, body)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodePublish64 measures Split and Decode together.
func BenchmarkDecodePublish64(b *testing.B) {
	b.Run("v311/qos0", func(b *testing.B) { benchDecode(b, V311, benchPublish(0)) })
	b.Run("v311/qos1", func(b *testing.B) { benchDecode(b, V311, benchPublish(1)) })
	b.Run("v5/qos1", func(b *testing.B) { benchDecode(b, V5, benchPublish(1)) })
	b.Run("v5/properties", func(b *testing.B) {
		p := benchPublish(1)
		p.Properties.Forward = forward()
		p.Properties.HasExpiry = true
		benchDecode(b, V5, p)
	})
}

func BenchmarkAppendPublish64(b *testing.B) {
	for _, v := range []Version{V311, V5} {
		b.Run(v.String(), func(b *testing.B) {
			p, out := benchPublish(1), make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				out = p.Append(out[:0], v)
			}
		})
	}
}

func BenchmarkAppendHead(b *testing.B) {
	p, out := benchPublish(1), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		out, _ = p.AppendHead(out[:0], V5)
	}
}

func BenchmarkAck(b *testing.B) {
	for name, in := range map[string]*Ack{
		"short":      {Type: PUBACK, ID: 1},
		"properties": {Type: PUBACK, ID: 1, Code: QuotaExceeded, ReasonString: []byte("full"), User: user("a", "b")},
	} {
		wire := in.Append(nil, V5)
		b.Run("decode/"+name, func(b *testing.B) {
			var p Ack
			b.ReportAllocs()
			for b.Loop() {
				first, body, _, _ := Split(wire, 1<<20)
				if err := p.Decode(V5, first, body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("append/"+name, func(b *testing.B) {
			out := make([]byte, 0, 64)
			b.ReportAllocs()
			for b.Loop() {
				out = in.Append(out[:0], V5)
			}
		})
	}
}

// BenchmarkProperties is a CONNECT with ten properties, and a CONNACK with as many.
func BenchmarkProperties(b *testing.B) {
	var p Properties
	p.SessionExpiry, p.ReceiveMaximum, p.MaximumPacketSize, p.TopicAliasMaximum = 1, 2, 3, 4
	p.AuthMethod, p.AuthData = []byte("method"), []byte("data")
	p.Set(PropSessionExpiry, PropReceiveMaximum, PropMaximumPacketSize, PropTopicAliasMaximum, PropAuthMethod, PropAuthData)
	p.User = user("a", "b")
	connect, connack := p, p
	connect.RequestProblemInfo, connect.RequestResponseInfo = true, true
	connect.Set(PropRequestProblemInfo, PropRequestResponseInfo)
	connack.ReasonString, connack.SharedAvailable = []byte("reason"), true
	connack.Set(PropReasonString, PropSharedAvailable, PropRetainAvailable)
	b.Run("read", func(b *testing.B) {
		wire := connect.AppendWire(nil)
		b.ReportAllocs()
		for b.Loop() {
			if err := p.Parse(CONNECT, wire); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		var out []byte
		b.ReportAllocs()
		for b.Loop() {
			out = connack.AppendWire(out[:0])
		}
	})
	b.Run("connect", func(b *testing.B) {
		c := Connect{Version: V5, ClientID: []byte("client"), CleanStart: true, Properties: connect}
		wire := c.Append(nil)
		b.ReportAllocs()
		for b.Loop() {
			first, body, _, err := Split(wire, 1<<20)
			var c Connect
			if err == nil {
				err = c.Decode(first, body)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("connack", func(b *testing.B) {
		out := make([]byte, 0, 256)
		b.ReportAllocs()
		for b.Loop() {
			out = (&Connack{Properties: connack}).Append(out[:0], V5)
		}
	})
}
