package top

// Widths of columns, in cells.
const (
	nameWidth   = 15
	numberWidth = 11
	leastChart  = 10
)

// table is the traffic: rates now, their averages, and their past in what room
// is left. Where there is little, averages give way to the past.
func (v *view) table(width int) []line {
	averages := []struct{ title, topic string }{{"1 min", "/1min"}, {"5 min", "/5min"}, {"15 min", "/15min"}}
	room := width - nameWidth - numberWidth
	averages = averages[:min(len(averages), max(0, (room-leastChart-2)/numberWidth))]
	room -= len(averages)*numberWidth + 2

	header := line{{pad("per second", nameWidth), title}, {padLeft("now", numberWidth), label}}
	for _, a := range averages {
		header = append(header, span{padLeft(a.title, numberWidth), label})
	}
	all := []line{header}
	for _, r := range traffic() {
		format := count
		if r.bytes {
			format = bytes
		}
		known := false
		cell := func(n float64, ok bool) span {
			if !ok {
				return span{padLeft("-", numberWidth), label}
			}
			known = true
			return span{padLeft(format(n), numberWidth), normal}
		}
		rate, ok := v.rates[r.topic]
		now := cell(rate, ok)
		if r.topic == dropped && rate > 0 {
			now.style = bad
		}
		l := line{{pad(r.title, nameWidth), label}, now}
		for _, a := range averages {
			n, ok := number(v.values, "load/"+r.load+a.topic)
			l = append(l, cell(n/60, ok))
		}
		if _, counts := v.values[r.topic]; !known && !counts {
			continue
		}
		if room >= leastChart && len(v.history[r.topic]) > 0 {
			l = append(l, span{"  ", normal}, span{spark(v.history[r.topic], room), chart})
		}
		all = append(all, l)
	}
	if len(all) == 1 {
		return nil
	}
	return all
}
