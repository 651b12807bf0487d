package packet

import (
	"bytes"
	"testing"
)

// FuzzDecode decodes any bytes in every version. What decodes must have an
// encoding that decodes to the same packet, that is, to the same encoding.
func FuzzDecode(f *testing.F) {
	for _, v := range []Version{V31, V311, V5} {
		for _, vec := range vectors(v) {
			f.Add(uint8(v), vec.p.Append(nil, v))
		}
	}
	f.Fuzz(func(t *testing.T, level uint8, b []byte) {
		v := V31 + Version(level%3)
		first, body, size, err := Split(b, MaxSize)
		if size > len(b) || err != nil && size != 0 {
			t.Fatalf("Split = size %d of %d, %v", size, len(b), err)
		}
		if size == 0 {
			return
		}
		before := bytes.Clone(b)
		p, err := decode(v, first, body)
		if !bytes.Equal(before, b) {
			t.Fatal("Decode changed its input")
		}
		if err != nil {
			if code(err) == 0xff {
				t.Fatalf("error is no *Fault: %v", err)
			}
			return
		}
		once := p.Append(nil, v)
		first, body, size, err = Split(once, MaxSize)
		if err != nil || size != len(once) {
			t.Fatalf("Split of the encoding % x = size %d, %v", once, size, err)
		}
		again, err := decode(v, first, body)
		if err != nil {
			t.Fatalf("encoding % x: %v", once, err)
		}
		if twice := again.Append(nil, v); !bytes.Equal(once, twice) {
			t.Fatalf("encoded\n% x\nand then\n% x", once, twice)
		}
	})
}

// FuzzPublish holds the promises of PUBLISH: Size is the size, the payload and
// what is forwarded survive, and a struct that is used again shows nothing of
// earlier packets.
func FuzzPublish(f *testing.F) {
	for _, vec := range vectors(V5) {
		if p, ok := vec.p.(*Publish); ok {
			b := p.Append(nil, V5)
			_, body, _, _ := Split(b, MaxSize)
			f.Add(b[0], body)
		}
	}
	f.Fuzz(func(t *testing.T, first byte, body []byte) {
		first = byte(PUBLISH)<<4 | first&0x0f
		var fresh Publish
		used := Publish{ID: 9, Properties: PublishProperties{
			Forward: []byte("old"), HasExpiry: true, TopicAlias: 1,
			SubscriptionIDs: []uint32{4}, gathered: []byte("older"),
		}}
		err := fresh.Decode(V5, first, body)
		if code(err) != code(used.Decode(V5, first, body)) {
			t.Fatal("a used struct decodes differently")
		}
		if err != nil {
			return
		}
		b := fresh.Append(nil, V5)
		if len(b) != fresh.Size(V5) || !bytes.Equal(b, used.Append(nil, V5)) {
			t.Fatalf("Size %d, encoded % x; of a used struct % x", fresh.Size(V5), b, used.Append(nil, V5))
		}
		if !bytes.HasSuffix(body, fresh.Payload) || !bytes.HasSuffix(b, fresh.Payload) {
			t.Fatal("payload is not the end of the packet")
		}
		var all Properties
		if err := all.Parse(PUBLISH, fresh.Properties.Forward); err != nil {
			t.Fatalf("Forward % x: %v", fresh.Properties.Forward, err)
		}
	})
}
