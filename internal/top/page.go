package top

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A view is all that a page shows.
type view struct {
	address  string
	now      time.Time
	values   map[string]string
	rates    map[string]float64
	history  map[string][]float64
	every    time.Duration
	interval time.Duration
	paused   bool
	help     bool
	lost     string // why there is no connection, "" if there is one
}

// page lays out what fits into width and height. Where lines are missing, the
// last one says so.
func (v *view) page(width, height int) []line {
	head := v.head(width)
	body := v.body(width)
	if v.help {
		body = help()
	}
	foot := line{{"q", title}, {" quit  ", label}, {"p", title}, {" pause  ", label}, {"+ -", title}, {" interval  ", label}, {"?", title}, {" help", label}}
	room := height - len(head) - 1
	if len(body) > room {
		body = slices.DeleteFunc(body, func(l line) bool { return len(l) == 0 })
	}
	if len(body) > room && room > 0 {
		more := len(body) - room + 1
		body = append(body[:room-1:room-1], line{{fmt.Sprintf("… %d more lines: the terminal is too low", more), label}})
	}
	all := append(head, body...)
	for len(all) < height-1 {
		all = append(all, nil)
	}
	all = append(all, foot)
	all = all[:min(len(all), max(height, 0))]
	for i := range all {
		all[i] = all[i].cut(width)
	}
	return all
}

// head says which broker it is, and how it does.
func (v *view) head(width int) []line {
	left := line{{"midge top", title}, {"  " + printable(v.address), normal}, {"  " + v.text("version"), label}}
	if s, _, _ := strings.Cut(v.values["uptime"], " "); s != "" {
		if n, err := strconv.ParseFloat(s, 64); err == nil {
			left = append(left, span{"  up " + duration(time.Duration(n)*time.Second), label})
		}
	}
	clock := v.now.Format(time.TimeOnly)
	if gap := width - left.width() - len(clock); gap >= 2 {
		left = append(left, span{strings.Repeat(" ", gap), normal}, span{clock, label})
	}
	state := line{}
	switch {
	case v.lost != "":
		state = append(state, span{"no connection: " + printable(v.lost), bad})
	case v.paused:
		state = append(state, span{"paused", bad})
	case len(v.values) == 0:
		state = append(state, span{"waiting for $SYS", label})
	case v.every > 0:
		state = append(state, span{"rates over " + seconds(v.every), label})
	default:
		state = append(state, span{"rates come with the next values of the broker", label})
	}
	if v.interval > time.Second {
		state = append(state, span{", no more often than every " + seconds(v.interval), label})
	}
	head := []line{left, state}
	if status := v.text("store/status"); status != "" && status != "ok" {
		head = append(head, line{{"the disk: " + status, bad}})
	}
	return append(head, nil)
}

func seconds(d time.Duration) string { return count(d.Round(100*time.Millisecond).Seconds()) + " s" }

// body are the sections, in the order of their worth where room is short.
func (v *view) body(width int) (all []line) {
	if len(v.values) == 0 {
		return nil
	}
	for _, section := range [][]line{v.clients(width), v.table(width), v.drops(width), v.messages(width), v.store(width)} {
		if len(section) > 0 && len(all) > 0 {
			all = append(all, nil)
		}
		all = append(all, section...)
	}
	return all
}

func (v *view) clients(width int) []line {
	l := v.facts(width, "clients", []fact{
		{"connected", "clients/connected", count},
		{"away", "clients/disconnected", count},
		{"most", "clients/maximum", count},
		{"expired", "clients/expired", count},
		{"subscriptions", "subscriptions/count", count},
		{"shared", "shared_subscriptions/count", count},
	})
	if room := width - nameWidth; len(l) > 0 && room >= 10 && len(v.history["clients/connected"]) > 1 {
		l = append(l, line{{pad("", nameWidth), label}, {spark(v.history["clients/connected"], room), chart}})
	}
	return l
}

// drops says why receivers did not get messages, why clients were refused
// something, and why connections were closed, if the broker tells.
func (v *view) drops(width int) []line {
	all := v.facts(width, "dropped", append([]fact{{"in all", dropped, count}}, v.reasons(dropped+"/", true)...))
	all = append(all, v.facts(width, "refused", v.reasons("refused/", false))...)
	return append(all, v.facts(width, "closed", v.reasons("closed/", false))...)
}

// reasons are the counters below a topic; without zero only those that have
// counted something.
func (v *view) reasons(below string, zero bool) (all []fact) {
	for topic := range v.values {
		reason, ok := strings.CutPrefix(topic, below)
		if n, is := number(v.values, topic); ok && is && (zero || n > 0) {
			all = append(all, fact{strings.ReplaceAll(printable(reason), "_", " "), topic, count})
		}
	}
	slices.SortFunc(all, func(a, b fact) int { return strings.Compare(a.title, b.title) })
	return all
}

func (v *view) messages(width int) []line {
	return v.facts(width, "messages kept", []fact{
		{"retained", "retained messages/count", count},
		{"all stored", "store/messages/count", count},
		{"", "store/messages/bytes", bytes},
		{"queued on disk", "store/queued/count", count},
		{"", "store/queued/bytes", bytes},
	})
}

func (v *view) store(width int) []line {
	if _, ok := v.values["store/status"]; !ok {
		return nil
	}
	micros := func(n float64) string { return count(n/1000) + " ms" }
	all := v.facts(width, "disk", []fact{
		{"commits/s", "store/commits", nil},
		{"turns each", "store/commits/turns", count},
		{"syncs/s", "store/syncs", nil},
		{"last sync", "store/syncs/last", micros},
		{"backlog", "store/backlog/bytes", bytes},
	})
	all = append(all, v.facts(width, "", []fact{
		{"files", "store/disk/bytes", bytes},
		{"log", "store/disk/log/bytes", bytes},
		{"damaged", "store/damaged", count},
		{"quarantines", "store/quarantines", count},
	})...)
	status := span{v.text("store/status"), good}
	if status.text != "ok" {
		status.style = bad
	}
	all = append(all, line{{pad("", nameWidth), label}, {"status ", label}, status})
	if trouble := v.text("store/trouble"); trouble != "" && trouble != "none" {
		all = append(all, line{{pad("", nameWidth), label}, {"last trouble ", label}, {trouble, bad}})
	}
	return all
}

// A fact is a value with its name before it. Without a format it is a counter,
// whose rate is shown.
type fact struct {
	title, topic string
	format       func(float64) string
}

// facts writes those that the broker tells, in as many lines as they need;
// nothing if it tells none.
func (v *view) facts(width int, name string, all []fact) (lines []line) {
	l := line{{pad(name, nameWidth), title}}
	for _, f := range all {
		n, ok := number(v.values, f.topic)
		if f.format == nil {
			n, ok = v.rates[f.topic]
			f.format = count
		}
		if !ok {
			continue
		}
		next := line{{f.title + " ", label}, {f.format(n), normal}}
		if f.title == "" {
			next = line{{"(" + f.format(n) + ")", normal}}
		}
		gap := "  "
		switch {
		case len(l) == 1:
			gap = ""
		case f.title == "":
			gap = " "
		}
		if len(l) > 1 && l.width()+len(gap)+next.width() > width {
			lines = append(lines, l)
			l, gap = line{{pad("", nameWidth), title}}, ""
		}
		l = append(append(l, span{gap, normal}), next...)
	}
	if len(l) == 1 {
		return nil
	}
	return append(lines, l)
}

// text is the value of a topic as it may go to a terminal.
func (v *view) text(topic string) string { return printable(v.values[topic]) }

// help explains the page, in lines that fit into 80 columns.
func help() []line {
	var all []line
	for _, text := range []string{
		"The broker publishes its figures under $SYS every few seconds (Midge: the",
		"setting sys.interval). now is the rate between its last two values; the columns",
		"beside are the broker's own averages. messages are PUBLISH packets, packets are",
		"those of all types.",
		"",
		"q, Esc, ctrl-c  quit",
		"p, space        pause: the page stays, and goes on with what has come meanwhile",
		"+ and -         longer and shorter intervals between two points",
		"?, h            this help, and back",
	} {
		if text == "" {
			all = append(all, nil)
			continue
		}
		all = append(all, line{{text, normal}})
	}
	return all
}
