package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteJSON writes the result as one JSON object on a line of its own.
func (r *Result) WriteJSON(w io.Writer) error {
	return json.NewEncoder(w).Encode(r)
}

// WriteGo writes the result as a line of the Go benchmark format, with its
// configuration in front, for benchstat:
//
//	BenchmarkMQTT/scenario=p2p-1K-1K-1K-1K/qos=1/broker=midge 10000 1e+03 msgs/s …
func (r *Result) WriteGo(w io.Writer) error {
	e := r.Environment
	_, err := fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: midge/bench\ncpu: %s\n", e.OS, e.Arch, e.CPU)
	if err != nil {
		return err
	}
	var b strings.Builder
	if r.Interrupted > 0 { // a key for this result alone, which benchstat doesn't mix with whole ones
		fmt.Fprintf(&b, "interrupted: after %.1fs\n", r.Interrupted)
	}
	fmt.Fprintf(&b, "BenchmarkMQTT/scenario=%s/qos=%d/mqtt=%s/%s/broker=%s-%d\t%d", word(r.Scenario.Name), r.Scenario.QoS, r.MQTT,
		r.Transport, word(r.Broker), e.Cores, max(1, r.Received.Messages))
	for _, u := range r.units() {
		fmt.Fprintf(&b, "\t%.6g %s", u.value, u.name)
	}
	b.WriteByte('\n')
	if r.Interrupted > 0 {
		b.WriteString("interrupted:\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// word makes text a word that benchstat takes for one value of a key.
func word(text string) string {
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c == '/' || c == '=' {
			return '_'
		}
		return c
	}, text)
}

type unit struct {
	name  string
	value float64
}

func (r *Result) units() []unit {
	var all []unit
	add := func(name string, value float64) { all = append(all, unit{name, value}) }
	if r.Published.Messages > 0 {
		add("pub-msgs/s", r.Published.PerSecond)
		add("msgs/s", r.Received.PerSecond)
	}
	for _, l := range []struct {
		prefix string
		l      *Latency
	}{{"", r.Latency}, {"last-", r.LastReceipt}, {"ack-", r.AckLatency}, {"first-", r.first()}, {"whole-", r.whole()}, {"meanwhile-", r.meanwhile()}} {
		if l.l != nil {
			add(l.prefix+"p50-ns", float64(l.l.P50))
			add(l.prefix+"p99-ns", float64(l.l.P99))
			add(l.prefix+"p99.9-ns", float64(l.l.P999))
			add(l.prefix+"max-ns", float64(l.l.Max))
		}
	}
	if r.Retained != nil {
		add("retained-msgs/s", r.Retained.PerSecond)
	}
	if r.Connects.Clients > 0 {
		add("connects/s", r.Connects.PerSecond)
	}
	if u := r.BrokerUse; u != nil {
		add("broker-cpu-ns/msg", u.MicrosPerMsg*1000)
		add("broker-rss-B", float64(u.RSS))
		add("broker-B/conn", u.RSSPerConn)
	}
	if r.BenchUse.MicrosPerMsg > 0 {
		add("bench-cpu-ns/msg", r.BenchUse.MicrosPerMsg*1000)
	}
	add("faults", float64(r.Faulty.Sum()))
	return all
}

// WriteTable writes the result for people.
func (r *Result) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "scenario\t%s\n", r.Scenario.Describe())
	fmt.Fprintf(t, "broker\t%s, MQTT %s over %s\n", r.Broker, r.MQTT, r.Transport)
	e := r.Environment
	fmt.Fprintf(t, "bench\t%s, %s, %s, %s\n", e.Engine, e.CPU, count(e.Cores, "core", "s"), count(e.Procs, "process", "es"))
	if c := r.Connects; c.Clients > 0 {
		fmt.Fprintf(t, "connected\t%d clients in %.2f s, %.0f/s", c.Clients, c.Seconds, c.PerSecond)
		if u := r.BrokerUse; u != nil && u.ConnectMicros > 0 {
			fmt.Fprintf(t, ", %.1f µs of the broker's CPU each", u.ConnectMicros)
		}
		fmt.Fprintln(t)
	}
	if r.Published.Messages > 0 || r.Scenario.Publishers > 0 && (r.Interrupted == 0 || r.Seconds > 0) {
		seconds := r.Seconds
		if p := r.Published; r.Scenario.Offline && p.PerSecond > 0 {
			seconds = float64(p.Messages) / p.PerSecond
		}
		fmt.Fprintf(t, "published\t%d messages in %.2f s, %.0f/s\n", r.Published.Messages, seconds, r.Published.PerSecond)
		if !r.Scenario.Offline { // those are told with the sessions
			fmt.Fprintf(t, "received\t%d messages, %.0f/s\n", r.Received.Messages, r.Received.PerSecond)
		}
	}
	if c := r.Churned; c != nil {
		fmt.Fprintf(t, "came and went\t%d clients, %.0f/s\n", c.Connections, c.PerSecond)
		if c.WillsDue > 0 {
			fmt.Fprintf(t, "wills\t%d of %d\n", c.WillsReceived, c.WillsDue)
		}
	}
	if k := r.Retained; k != nil {
		fmt.Fprintf(t, "retained\t%d messages laid down in %.2f s, %.0f/s", k.Messages, k.LaySeconds, k.LayPerSecond)
		if k.RSSPerMsg > 0 {
			fmt.Fprintf(t, ", %.0f B of the broker's memory each", k.RSSPerMsg)
		}
		fmt.Fprintf(t, "\nread\t%d of them, %.0f/s\n", k.Read, k.PerSecond)
	}
	if s := r.SlowReads; s != nil {
		fmt.Fprintf(t, "slow readers\t%d received %d, lost %d, %d disconnected\n", s.Readers, s.Received, s.Lost, s.Disconnected)
	}
	if s := r.Restarted; s != nil {
		fmt.Fprintf(t, "restarted\t%s in %.2f s, first CONNACK after %.2f s\n", s.How, s.StopSeconds, s.StartSeconds)
	}
	if s := r.Resumed; s != nil {
		fmt.Fprintf(t, "resumed\t%d sessions, %d messages in %.2f s, %.0f/s", s.Sessions, s.Messages, s.Seconds, s.PerSecond)
		if s.MicrosPerMsg > 0 {
			fmt.Fprintf(t, ", %.2f µs of the broker's CPU each", s.MicrosPerMsg)
		}
		fmt.Fprintln(t)
	}
	for _, u := range []struct {
		name string
		use  *Usage
	}{{"broker's use", r.BrokerUse}, {"bench's use", &r.BenchUse}} {
		if u.use == nil || r.Interrupted > 0 && r.Seconds == 0 {
			continue
		}
		fmt.Fprintf(t, "%s\t%.2f s CPU (%.0f %%)", u.name, u.use.CPUSeconds, u.use.CPUPercent)
		if u.use.MicrosPerMsg > 0 {
			fmt.Fprintf(t, ", %.2f µs a message", u.use.MicrosPerMsg)
		}
		fmt.Fprintf(t, ", %.1f MB", float64(u.use.RSS)/1e6)
		if u.use.RSSPerConn > 0 {
			fmt.Fprintf(t, " (%.0f B a connection)", u.use.RSSPerConn)
		}
		fmt.Fprintf(t, ", %d threads\n", u.use.Threads)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if err := r.writeLatencies(w); err != nil {
		return err
	}
	return r.writeFaults(w)
}

func (r *Result) writeLatencies(w io.Writer) error {
	connecting := r.Connects.Time
	if r.Churned != nil {
		connecting = r.Churned.Time
	}
	rows := []struct {
		name string
		l    *Latency
	}{
		{"due to received", r.Latency},
		{"… while retained are read", r.meanwhile()},
		{"first retained message", r.first()},
		{"all retained messages", r.whole()},
		{"due to last receipt", r.LastReceipt},
		{"written to acknowledged", r.AckLatency},
		{"connecting", connecting},
		{"bench's own lag", r.Lag},
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\nlatency\tmin\tp50\tp90\tp99\tp99.9\tmax\t\n")
	any := false
	for _, row := range rows {
		if row.l == nil {
			continue
		}
		any = true
		fmt.Fprintf(t, "%s\t", row.name)
		for _, ns := range []int64{row.l.Min, row.l.P50, row.l.P90, row.l.P99, row.l.P999, row.l.Max} {
			fmt.Fprintf(t, "%s\t", short(ns))
		}
		fmt.Fprintln(t)
	}
	if !any {
		return nil
	}
	return t.Flush()
}

func (r *Result) first() *Latency {
	if r.Retained == nil {
		return nil
	}
	return r.Retained.First
}

func (r *Result) whole() *Latency {
	if r.Retained == nil {
		return nil
	}
	return r.Retained.Whole
}

func (r *Result) meanwhile() *Latency {
	if r.Retained == nil {
		return nil
	}
	return r.Retained.Meanwhile
}

// short writes a time with three digits or so.
func short(ns int64) string {
	switch {
	case ns < 1e6:
		return fmt.Sprintf("%.1fµs", float64(ns)/1e3)
	case ns < 1e9:
		return fmt.Sprintf("%.2fms", float64(ns)/1e6)
	}
	return fmt.Sprintf("%.2fs", time.Duration(ns).Seconds())
}

func (r *Result) writeFaults(w io.Writer) error {
	var b strings.Builder
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "\nnote: %s", n)
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "\nFAULT: %s", f)
	}
	if b.Len() > 0 {
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// count is a number of things, whose plural ends with more.
func count(n int, thing, more string) string {
	if n == 1 {
		more = ""
	}
	return fmt.Sprintf("%d %s%s", n, thing, more)
}

// Describe says what the scenario is in one line.
func (s Scenario) Describe() string {
	s = s.withDefaults()
	var b strings.Builder
	fmt.Fprintf(&b, "%s:", s.Name)
	add := func(format string, args ...any) { fmt.Fprintf(&b, " "+format+",", args...) }
	if s.Publishers > 0 {
		add("%s on %s", count(s.Publishers, "publisher", "s"), count(s.Topics, "topic", "s"))
	}
	if s.Subscribers > 0 {
		add("%s (%s)", count(s.Subscribers, "subscriber", "s"), s.Filter)
	}
	if s.Offline {
		add("of which %d come back for what waited", s.Returning)
	}
	if s.Restart != RestartNone {
		add("a restart (%s) before that", s.Restart)
	}
	if s.Retained > 0 {
		add("%d retained messages, read again and again by %s", s.Retained, count(s.Readers, "client", "s"))
	}
	if s.Clients > 0 {
		if s.Publishers+s.Subscribers > 0 {
			add("%s", count(s.Clients, "other client", "s"))
		} else {
			add("%s", count(s.Clients, "client", "s"))
		}
	}
	if s.Churn > 0 {
		add("%g clients/s that come and go", s.Churn)
	}
	if s.Publishers > 0 {
		add("QoS %d, %d B", s.QoS, s.Size)
		switch {
		case s.Rate > 0:
			add("%g messages/s (open loop)", s.Rate)
		default:
			add("%d in flight for each flow (closed loop)", s.Window)
		}
	}
	return strings.TrimSuffix(b.String(), ",")
}
