//go:build integration && unix

package crash

import (
	"testing"

	"midge/internal/packet"
)

// TestLedgerFindsViolations proves that what the crash test looks for does not
// escape it.
func TestLedgerFindsViolations(t *testing.T) {
	for _, test := range []struct {
		name     string
		qos      packet.QoS // of the messages and of the subscription
		shared   bool
		acked    int   // messages 1 to acked of 5
		received []int // in this order
		want     kind
	}{
		{name: "all", qos: 2, acked: 5, received: []int{1, 2, 3, 4, 5}},
		{name: "the unacknowledged need not arrive", qos: 2, acked: 3, received: []int{1, 2, 3}},
		{name: "the unacknowledged may arrive", qos: 2, acked: 3, received: []int{1, 2, 3, 5}},
		{name: "QoS 1 twice", qos: 1, acked: 5, received: []int{1, 2, 3, 2, 3, 4, 5}},
		{name: "QoS 1 lost", qos: 1, acked: 5, received: []int{1, 2, 4, 5}, want: lost},
		{name: "QoS 1 last lost", qos: 1, acked: 5, received: []int{1, 2, 3, 4}, want: lost},
		{name: "QoS 1 first receipts out of order", qos: 1, acked: 5, received: []int{1, 3, 2, 4, 5}, want: order},
		{name: "QoS 2 lost", qos: 2, acked: 5, received: nil, want: lost},
		{name: "QoS 2 twice", qos: 2, acked: 5, received: []int{1, 2, 2, 3, 4, 5}, want: duplicate},
		{name: "QoS 2 out of order", qos: 2, acked: 5, received: []int{1, 2, 4, 3, 5}, want: order},
		{name: "group in any order", qos: 2, shared: true, acked: 5, received: []int{4, 5, 1, 2, 3}},
		{name: "group twice", qos: 2, shared: true, acked: 5, received: []int{1, 2, 3, 4, 5, 1}, want: duplicate},
		{name: "QoS 0 lost", qos: 0, received: []int{1, 5}},
		{name: "QoS 0 twice", qos: 0, received: []int{1, 1}, want: duplicate},
		{name: "never sent", qos: 1, acked: 5, received: []int{1, 2, 3, 4, 5, 6}, want: corrupt},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := newVerdict()
			l := newLedger(v)
			r := l.addReceiver("r", test.qos, test.shared, func(string) bool { return true })
			f := flow{"p", "t", test.qos}
			for range 5 {
				seq := l.next(f)
				l.send(f, seq)
				if seq <= test.acked {
					l.acknowledge(f, seq)
				}
			}
			for _, seq := range test.received {
				l.receive(r, "c", &packet.Publish{QoS: test.qos, Topic: []byte("t"), Payload: f.payload(seq, 1)})
			}
			if n := l.owed(r); n > 0 {
				v.violation(lost, "%d: %q", n, l.missing(r, 5))
			}
			if got := v.found; test.want == "" && len(got) > 0 || test.want != "" && v.count(test.want) == 0 {
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}
