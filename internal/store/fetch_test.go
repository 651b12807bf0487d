package store

import (
	"testing"

	"midge/internal/message"
)

// seriesDisk is a testDisk that is a Series.
type seriesDisk struct {
	*testDisk
	getters, open int
}

func (d *seriesDisk) Getter() Getter {
	d.getters++
	d.open++
	return &seriesGetter{d}
}

type seriesGetter struct{ *seriesDisk }

func (g *seriesGetter) Close() { g.open-- }

// TestFetchInSeries finds that the messages of a fetch are read by one getter, which
// is closed whatever they are, and that a single one needs none.
func TestFetchInSeries(t *testing.T) {
	d := &seriesDisk{testDisk: newTestDisk()}
	s := newTestStore(d, 1)
	turn := s.Turn()
	turn.Urgent = true
	var items []message.Stored
	for i := range 10 {
		k := message.NewKey(uint64(i+1), PartOwn)
		m := &message.Message{Topic: []byte("t"), Payload: []byte{byte(i)}}
		turn.PutReceivers(k, 1, AppendReceiver(nil, &Receiver{Session: 1}), m)
		items = append(items, message.Stored{Key: k, Size: m.Size(), Sole: true})
	}
	n := s.Submit(0, turn)
	s.Step()
	for _, test := range []struct {
		name    string
		items   []message.Stored
		getters int
		lost    int
	}{
		{"ten", items, 1, 0},
		{"one", items[:1], 0, 0},
		{"one that is lost", append(items[:2:2], message.Stored{Key: message.NewKey(99, PartOwn), Size: 1, Sole: true}), 1, 1},
	} {
		d.getters = 0
		var got []Result
		s.Fetch(&Fetch{Turn: n, Items: test.items, Done: func(r []Result) { got = r }})
		s.StepReads()
		lost := 0
		for i, r := range got {
			if r.Err != nil {
				lost++
			} else if r.Message.Payload[0] != byte(i) {
				t.Errorf("%s: message %d is %v", test.name, i, r.Message.Payload)
			}
		}
		if len(got) != len(test.items) || lost != test.lost || d.getters != test.getters || d.open != 0 {
			t.Errorf("%s: %d results, %d lost, %d getters, %d open", test.name, len(got), lost, d.getters, d.open)
		}
	}
}
