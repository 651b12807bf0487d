package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"midge/internal/message"
)

// TestAudit does each kind of damage to a store, and expects it to be found.
// The golden directory of pebblestore is one with none.
func TestAudit(t *testing.T) {
	k, big := message.NewKey(5, PartOwn), message.NewKey(6, PartOwn)
	group := message.NewKey(7, PartOfShard(3))
	tests := []struct {
		name   string
		damage func(d *testDisk)
		want   []string
	}{
		{"none", func(*testDisk) {}, nil},
		{"session damaged", func(d *testDisk) { d.set(sessionKey(nil, 2), []byte{9}) }, []string{
			"lost session 2: damaged record", // nothing is its
		}},
		{"session gone", func(d *testDisk) { delete(d.now, string(sessionKey(nil, 1))) }, []string{
			`left subscription of session 1 to "a/#": it is left over from something that has ended; the next start removes it`,
			"left QoS 2 message 3 received from session 1: it is left over from something that has ended; the next start removes it",
			"left QoS 2 exchange of message 5/0 with session 1: it is left over from something that has ended; the next start removes it",
			"left message 6/0: it is left over from something that has ended; the next start removes it",
			"left message 7/1: it is left over from something that has ended; the next start removes it",
		}},
		{"subscription damaged", func(d *testDisk) { d.set(subscriptionKey(nil, 1, "a/#"), nil) }, []string{
			`lost subscription of session 1 to "a/#": damaged record`,
		}},
		{"exchange without receiver", func(d *testDisk) { d.set(outgoingKey(nil, 1, message.NewKey(8, PartOwn)), Outgoing{ID: 9}.append(nil)) }, []string{
			"left QoS 2 exchange of message 8/0 with session 1: it is left over from something that has ended; the next start removes it",
		}},
		{"exchange damaged", func(d *testDisk) { d.set(outgoingKey(nil, 1, k), []byte{0, 0, 0}) }, []string{
			"lost QoS 2 exchange of message 5/0 with session 1: damaged record",
		}},
		{"receivers damaged", func(d *testDisk) { d.set(receiversKey(nil, k), []byte{0}) }, []string{
			"lost receivers of message 5/0: damaged record",
			"left QoS 2 exchange of message 5/0 with session 1: it is left over from something that has ended; the next start removes it",
		}},
		{"list damaged", func(d *testDisk) { d.set(doneKey(nil, k, 8), []byte{0xff}) }, []string{
			"lost list 8 of receivers of message 5/0 that are done: damaged record",
		}},
		{"message missing", func(d *testDisk) { delete(d.now, string(messageKey(nil, big))) }, []string{
			"lost receivers of message 6/0: the message is missing, which 1 sessions wait for",
		}},
		{"shared message missing", func(d *testDisk) { delete(d.now, string(messageKey(nil, group))) }, []string{
			"lost receivers of message 7/1: the message is missing, which 1 sessions wait for",
		}},
		{"message damaged", func(d *testDisk) { d.set(messageKey(nil, big), []byte{3}) }, []string{
			"lost message 6/0: damaged record",
		}},
		{"another message", func(d *testDisk) {
			d.set(messageKey(nil, big), appendMessage(nil, &message.Message{Topic: []byte("x")}, timeline{}))
		}, []string{fmt.Sprintf("lost receivers of message 6/0: the message has 1 bytes, and %d were written", SeparateBytes+1)}},
		{"message left", func(d *testDisk) {
			d.set(messageKey(nil, message.NewKey(9, PartOwn)), appendMessage(nil, &message.Message{Topic: []byte("x")}, timeline{}))
		}, []string{"left message 9/0: nobody waits for it; it only takes room"}},
		{"message of no part", func(d *testDisk) { d.set(numberKey(nil, kindMessage, uint64(message.NewKey(7, 2))), nil) }, []string{
			"lost message 7/2: there is no such key",
		}},
		{"retained under another topic", func(d *testDisk) {
			d.set(retainedKey(nil, []byte("other")), appendMessage(nil, &message.Message{Topic: []byte("kept")}, timeline{}))
		}, []string{`lost retained message to "other": it holds a message to "kept"`}},
		{"retained damaged", func(d *testDisk) { d.set(retainedKey(nil, []byte("kept")), []byte{0}) }, []string{
			`lost retained message to "kept": damaged record`,
		}},
		{"will damaged", func(d *testDisk) { d.set(willKey(nil, 3), nil) }, []string{"lost will 3: damaged record"}},
		{"no such kind", func(d *testDisk) { d.set([]byte{0}, nil); d.set([]byte("z"), nil); d.set([]byte{0xff, 1}, nil) }, []string{
			"lost record 00: there is no such kind of record",
			"lost record 7a: there is no such kind of record",
			"lost record ff01: there is no such kind of record",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := audited(k, big, group)
			test.damage(d)
			before := d.all()
			var got []string
			err := Audit(d, func(f Finding) {
				got = append(got, map[bool]string{true: "lost", false: "left"}[f.Lost]+" "+f.Record+": "+f.Fault)
			})
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("found, %v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
			if d.commits > 0 || !slices.Equal(d.all(), before) {
				t.Error("the audit changed the store")
			}
		})
	}
}

// audited is a store with something of everything.
func audited(own, big, group message.Key) *testDisk {
	d := newTestDisk()
	s := newTestStore(d, 1)
	s.put(0, func(t *Turn) {
		t.Urgent = true
		t.PutSession(&Session{Number: 1, ClientID: "one"})
		t.PutSubscription(1, &Subscription{Filter: "a/#", QoS: 2})
		t.PutIncoming(1, 3, false)
		t.PutWill(&Will{Number: 3, ClientID: "one", Message: message.Message{Topic: []byte("will")}})
		to := func(k message.Key, size int) {
			m := &message.Message{Topic: []byte("a"), Payload: make([]byte, size), QoS: 2}
			t.PutReceivers(k, 1, AppendReceiver(nil, &Receiver{Session: 1, QoS: 2}), m)
		}
		to(own, 10)
		to(big, SeparateBytes)
		t.Share(group.Seq(), 1, &message.Message{Topic: []byte("a"), QoS: 2})
		to(group, 0)
		t.PutOutgoing(1, own, Outgoing{ID: 4})
	})
	s.Retain(&message.Message{Topic: []byte("kept")})
	s.Step()
	d.commits = 0
	return d
}

// TestAuditReads proves that an audit ends with the error of a disk that
// cannot be read.
func TestAuditReads(t *testing.T) {
	d := audited(message.NewKey(5, PartOwn), message.NewKey(6, PartOwn), message.NewKey(7, PartOfShard(3)))
	d.getting = func([]byte) error { return errDisk }
	if err := Audit(d, func(f Finding) { t.Errorf("found %+v", f) }); err == nil {
		t.Error("no error")
	}
}

func TestUsage(t *testing.T) {
	d := audited(message.NewKey(5, PartOwn), message.NewKey(6, PartOwn), message.NewKey(7, PartOfShard(3)))
	d.set([]byte("zz"), []byte("123"))
	uses, err := Usage(d)
	if err != nil {
		t.Fatal(err)
	}
	records, bytes := 0, int64(0)
	for _, u := range uses {
		records += u.Records
		bytes += u.Bytes
	}
	if want := len(d.all()); records != want || bytes < SeparateBytes {
		t.Errorf("%d records and %d bytes, want %d records: %+v", records, bytes, want, uses)
	}
	if last := uses[len(uses)-1]; last != (Use{"unknown (0x7a)", 1, 5}) {
		t.Errorf("the stranger: %+v", last)
	}
}
