package store

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"midge/internal/message"
)

// testTimes is the timeline of the tests: the engine began in 2023.
var testTimes = timeline{zero: 1_700_000_000_000}

// codec is a kind of record for the tests: decode reads a record into a value
// of its own, and encode writes such a value.
type codec struct {
	name   string
	decode func(b []byte) (any, error)
	encode func(v any) []byte
}

func codecs() []codec {
	c := testTimes
	return []codec{
		{"session", func(b []byte) (any, error) {
			v := &Session{}
			return v, v.decode(b, c)
		}, func(v any) []byte { return v.(*Session).append(nil, c) }},
		{"subscription", func(b []byte) (any, error) {
			v := &Subscription{Filter: "a/+"} // it is in the key
			return v, v.decode(b)
		}, func(v any) []byte { return v.(*Subscription).append(nil) }},
		{"will", func(b []byte) (any, error) {
			v := &Will{}
			return v, v.decode(b, c)
		}, func(v any) []byte { return v.(*Will).append(nil, c) }},
		{"message", func(b []byte) (any, error) {
			v, err := decodeMessage(b, c)
			return &v, err
		}, func(v any) []byte { return appendMessage(nil, v.(*message.Message), c) }},
		{"receivers", func(b []byte) (any, error) {
			v := &Receivers{}
			return v, v.decode(b, c, true)
		}, func(v any) []byte { return encodeReceivers(v.(*Receivers)) }},
		{"outgoing", func(b []byte) (any, error) {
			v := &Outgoing{}
			return v, v.decode(b)
		}, func(v any) []byte { return v.(*Outgoing).append(nil) }},
	}
}

// encodeReceivers writes a record of receivers. One whose message lies apart
// says how large that is, and when it ends.
func encodeReceivers(rs *Receivers) []byte {
	m := rs.Message
	if rs.Separate {
		m = message.Message{Payload: make([]byte, min(rs.Size, 1<<20)), Expires: rs.Expires, Interval: rs.Interval}
	}
	var list []byte
	for i := range rs.All {
		list = rs.All[i].append(list)
	}
	return appendReceivers(nil, len(rs.All), list, &m, rs.Separate, testTimes)
}

// text shows a value; an empty list and none are the same.
func text(v any) string { return fmt.Sprintf("%+v", reflect.ValueOf(v).Elem().Interface()) }

func testMessage(change ...func(*message.Message)) message.Message {
	m := message.Message{Topic: []byte("a/b"), Payload: []byte("payload"), QoS: 1, Publisher: "from"}
	for _, f := range change {
		f(&m)
	}
	return m
}

// samples are records as the broker writes them.
func samples() map[string]map[string]any {
	ends := 90 * time.Second
	all := func(m *message.Message) {
		m.QoS, m.Retain, m.Expires, m.Interval, m.Properties = 2, true, ends, 90, []byte{0x01, 0x01}
	}
	full, plain := testMessage(all), testMessage()
	return map[string]map[string]any{
		"session": {
			"connected":             &Session{ClientID: "c", Expiry: 60},
			"away":                  &Session{ClientID: "c", Expiry: math.MaxUint32, Left: 12 * time.Millisecond},
			"away since before":     &Session{ClientID: "c", Expiry: 1, Left: -3 * time.Hour},
			"away since the begin":  &Session{ClientID: "c", Expiry: 1, Left: 1},
			"client id of 64 KB":    &Session{ClientID: string(bytes.Repeat([]byte("x"), 65_535))},
			"expired at once":       &Session{ClientID: "c", Left: time.Second},
			"no client id (a will)": &Session{},
		},
		"subscription": {
			"plain": &Subscription{Filter: "a/+", QoS: 1},
			"all":   &Subscription{Filter: "a/+", ID: 268_435_455, QoS: 2, NoLocal: true, RetainAsPublished: true},
			"none":  &Subscription{Filter: "a/+"},
		},
		"will": {
			"plain":            &Will{ClientID: "c", Message: plain},
			"all":              &Will{ClientID: "c", Delay: math.MaxUint32 * time.Second, Expiry: math.MaxUint32 * time.Second, Message: full},
			"expires at once":  &Will{ClientID: "c", Expiry: 1, Message: plain},
			"expires in a sec": &Will{ClientID: "c", Expiry: time.Second, Message: plain},
		},
		"message": {
			"plain":            &plain,
			"all":              &full,
			"QoS 0, empty":     &message.Message{Topic: []byte("t")},
			"ends in 136 y":    ref(testMessage(func(m *message.Message) { m.Expire(0, math.MaxUint32) })),
			"ended":            ref(testMessage(func(m *message.Message) { m.Expires = -time.Second })),
			"ends as it began": ref(testMessage(func(m *message.Message) { m.Expires = 1 })),
		},
		"receivers": {
			"one": &Receivers{Size: plain.Size(), All: []Receiver{{Session: 7, QoS: 1}}, Message: plain},
			"several": &Receivers{Size: full.Size(), Expires: ends, Interval: 90, Message: full, All: []Receiver{
				{Session: 1 << 60, QoS: 2, Retain: true, IDs: []uint32{1, 268_435_455}},
				{Session: 2, QoS: 1, Share: "$share/g/a/#"},
				{Session: 3, QoS: 1},
			}},
			"apart": &Receivers{Size: 70_000, Expires: ends, Interval: math.MaxUint32, Separate: true, All: []Receiver{{Session: 7, QoS: 1}}},
		},
		"outgoing": {
			"begun":         &Outgoing{ID: 1},
			"await PUBCOMP": &Outgoing{ID: 65_535, AwaitsPubcomp: true},
		},
	}
}

func ref[T any](v T) *T { return &v }

// TestRecords proves that each kind of record comes back as it was written,
// and that a record which lacks its end is found damaged or is one that means
// something else, but never more than was written.
func TestRecords(t *testing.T) {
	all := samples()
	for _, c := range codecs() {
		for name, v := range all[c.name] {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				b := c.encode(v)
				got, err := c.decode(b)
				if err != nil {
					t.Fatal(err)
				}
				if text(got) != text(v) {
					t.Fatalf("wrote %s, read %s", text(v), text(got))
				}
				for n := range min(len(b), 300) {
					if got, err := c.decode(b[:n:n]); err == nil && len(c.encode(got)) > len(b) {
						t.Fatalf("the first %d of %d bytes read as %s", n, len(b), text(got))
					}
				}
			})
		}
	}
}

// TestDamagedRecords proves that what can't be a record is an error.
func TestDamagedRecords(t *testing.T) {
	kinds := map[string]codec{}
	for _, c := range codecs() {
		kinds[c.name] = c
	}
	for _, tt := range []struct {
		kind, name string
		b          []byte
	}{
		{"session", "empty", nil},
		{"session", "client id is longer than the record", []byte{200, 1, 'c'}},
		{"session", "no expiry", []byte{1, 'c'}},
		{"session", "a number without an end", []byte{1, 'c', 0x80, 0x80}},
		{"subscription", "empty", nil},
		{"subscription", "QoS 3", []byte{3, 0}},
		{"will", "empty", nil},
		{"will", "no message", []byte{1, 'c', 0, 0}},
		{"message", "empty", nil},
		{"message", "no topic", []byte{1, 0, 0, 0}},
		{"message", "QoS 3", []byte{3, 1, 't', 0, 0}},
		{"message", "length over the record", append([]byte{1}, bytes.Repeat([]byte{0xff}, 9)...)},
		{"receivers", "empty", nil},
		{"receivers", "more receivers than bytes", []byte{1, 0, 0, 9, 2, 7, 1}},
		{"receivers", "more subscription identifiers than bytes", []byte{1, 0, 0, 1, 5, 7, 1 | bitVia, 0, 255, 1}},
		{"receivers", "receiver with QoS 3", []byte{1, 0, 0, 1, 2, 7, 3}},
		{"receivers", "receiver with QoS 0", []byte{1, 0, 0, 1, 2, 7, 0}},
		{"receivers", "no message although it is here", []byte{0, 0, 0, 1, 2, 7, 1}},
		{"outgoing", "empty", nil},
		{"outgoing", "no identifier", []byte{1, 0, 0}},
		{"outgoing", "too long", []byte{1, 0, 1, 1}},
	} {
		t.Run(tt.kind+"/"+tt.name, func(t *testing.T) {
			if v, err := kinds[tt.kind].decode(tt.b); err == nil {
				t.Fatalf("read %s", text(v))
			}
		})
	}
}

// TestReceiversUnread proves that a reader of the message alone need not look at
// the receivers.
func TestReceiversUnread(t *testing.T) {
	want := testMessage()
	b := encodeReceivers(&Receivers{All: []Receiver{{Session: 1, QoS: 1}, {Session: 2, QoS: 2}}, Message: want})
	var rs Receivers
	if err := rs.decode(b, testTimes, false); err != nil || len(rs.All) != 0 || text(&rs.Message) != text(&want) {
		t.Fatalf("read %+v, %v", rs, err)
	}
}

// TestTimeline proves that times survive a restart, on an engine's clock that
// begins anew.
func TestTimeline(t *testing.T) {
	const wall = 1_700_000_000_000
	first := timeline{wall - 5000} // the engine has run for 5 s
	second := timeline{wall + time.Hour.Milliseconds() - 1000}
	for _, tt := range []struct{ at, want time.Duration }{
		{0, 0}, // never
		{5 * time.Second, -time.Hour + time.Second},
		{time.Hour + 4*time.Second, 1}, // 0 on the second's clock, and not never
		{2 * time.Hour, time.Hour - 4*time.Second},
	} {
		if got := second.engine(first.stamp(tt.at)); got != tt.want {
			t.Errorf("%v is %v after the restart, want %v", tt.at, got, tt.want)
		}
	}
	for _, stamp := range []uint64{1, 1 << 40, 1 << 53, math.MaxUint64} {
		if at := first.engine(stamp); at < 0 != (stamp < wall) {
			t.Errorf("%d ms after 1970 is %v", stamp, at)
		}
	}
}

// FuzzRecords feeds the decoders with anything. They never panic, and what one
// takes for a record comes back when it is written and read again.
func FuzzRecords(f *testing.F) {
	for i, c := range codecs() {
		for _, v := range samples()[c.name] {
			if b := c.encode(v); len(b) < 1000 {
				f.Add(uint8(i), b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		all := codecs()
		c := all[int(kind)%len(all)]
		first, err := c.decode(b)
		if err != nil {
			return
		}
		if rs, ok := first.(*Receivers); ok { // the broker writes no others
			if rs.Separate && (rs.Size < 0 || rs.Size > 1<<20) {
				return
			}
			if !rs.Separate {
				rs.Size, rs.Expires, rs.Interval = rs.Message.Size(), rs.Message.Expires, rs.Message.Interval
			}
		}
		again := c.encode(first)
		second, err := c.decode(again)
		if err != nil {
			t.Fatalf("%s %s, encoded as % x: %v", c.name, text(first), again, err)
		}
		if text(first) != text(second) {
			t.Fatalf("%s: read %s, and after writing that %s", c.name, text(first), text(second))
		}
		if once := c.encode(second); !bytes.Equal(once, again) {
			t.Fatalf("%s: encoded as % x and then as % x", c.name, again, once)
		}
	})
}

// FuzzLoad feeds a start with records of any key and value. It never panics,
// hands over only what belongs to sessions that are there, and leaves nothing
// behind that a second start would find damaged.
func FuzzLoad(f *testing.F) {
	k := message.NewKey(5, PartOwn)
	m := testMessage()
	f.Add(receiversKey(nil, k), encodeReceivers(&Receivers{Size: m.Size(), All: []Receiver{{Session: 1, QoS: 1}}, Message: m}))
	f.Add(receiversKey(nil, message.NewKey(5, PartOfShard(3))), encodeReceivers(&Receivers{Separate: true, All: []Receiver{{Session: 1, QoS: 1}}}))
	f.Add(doneKey(nil, k, 9), []byte{1})
	f.Add(outgoingKey(nil, 1, k), Outgoing{ID: 3}.append(nil))
	f.Add(incomingKey(nil, 2, 4), []byte(nil))
	f.Add(undecidedKey(nil, 5), []byte{1})
	f.Add(sessionKey(nil, 1), (&Session{ClientID: "c"}).append(nil, testTimes))
	f.Add(subscriptionKey(nil, 1, "a"), (&Subscription{QoS: 1}).append(nil))
	f.Add(willKey(nil, 1), (&Will{Message: m}).append(nil, testTimes))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		d := newTestDisk()
		d.set(sessionKey(nil, 1), (&Session{ClientID: "one", Expiry: 9}).append(nil, testTimes))
		d.set(receiversKey(nil, k), encodeReceivers(&Receivers{Size: m.Size(), All: []Receiver{{Session: 1, QoS: 1}}, Message: m}))
		if len(key) > 0 {
			d.set(key, value)
		}
		newTestStore(d, 1).mustLoad(t, &testLoader{shards: 1})
		l := &testLoader{shards: 1}
		if damaged := newTestStore(d, 1).mustLoad(t, l); len(damaged) > 0 {
			t.Fatalf("a second start finds %q", damaged)
		}
		for _, s := range l.belongs {
			if l.Shard(s) < 0 {
				t.Fatalf("session %d gets something and is not there", s)
			}
		}
	})
}
