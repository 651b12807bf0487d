package top

// A row is one line of the table of traffic, or a value whose past is kept.
type row struct {
	title string
	topic string // of a counter, or of a gauge
	load  string // the topic of its averages over 1, 5 and 15 minutes, between load/ and /1min
	bytes bool
	gauge bool // the value goes up and down, and has no rate
}

// traffic are the rows of the table.
func traffic() []row {
	return []row{
		{title: "messages in", topic: "publish/messages/received", load: "publish/received"},
		{title: "messages out", topic: "publish/messages/sent", load: "publish/sent"},
		{title: "dropped", topic: dropped, load: "publish/dropped"},
		{title: "packets in", topic: "messages/received", load: "messages/received"},
		{title: "packets out", topic: "messages/sent", load: "messages/sent"},
		{title: "bytes in", topic: "bytes/received", load: "bytes/received", bytes: true},
		{title: "bytes out", topic: "bytes/sent", load: "bytes/sent", bytes: true},
		{title: "connections", load: "connections"},
	}
}

// dropped is the topic that counts messages that a receiver should have got
// and did not. Those below it count them by reason, if the broker does.
const dropped = "publish/messages/dropped"

// rows are all whose rates or past the page shows.
func rows() []row {
	return append(traffic(),
		row{topic: "clients/connected", gauge: true},
		row{topic: "store/commits"},
		row{topic: "store/syncs"},
		row{topic: "store/backlog/bytes", gauge: true},
		row{topic: "store/queued/count", gauge: true},
	)
}
