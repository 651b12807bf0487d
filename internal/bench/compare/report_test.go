package compare

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"midge/internal/bench"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// latencyOf makes a distribution from values in microseconds.
func latencyOf(t *testing.T, micros ...int64) *bench.Latency {
	t.Helper()
	h := hdrhistogram.New(1000, int64(time.Minute), 3)
	for _, v := range micros {
		if err := h.RecordValue(v * 1000); err != nil {
			t.Fatal(err)
		}
	}
	encoded, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		t.Fatal(err)
	}
	return &bench.Latency{
		Count: uint64(h.TotalCount()), Min: h.Min(), Mean: int64(h.Mean()), P50: h.ValueAtQuantile(50), P90: h.ValueAtQuantile(90),
		P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9), Max: h.Max(), Histogram: string(encoded),
	}
}

// example is a comparison of two brokers under two scenarios, the second
// without messages.
func example(t *testing.T) *Comparison {
	t.Helper()
	pairs := bench.Scenario{Name: "pairs", Publishers: 2, Subscribers: 2, Topics: 2, Filter: "topic", QoS: 1, SubQoS: 1, Size: 64, Window: 10}
	idle := bench.Scenario{Name: "idle", Clients: 100, Filters: 100, Filter: "topic"}
	c := &Comparison{
		Title: "Old & new", About: "An example.", Plan: "example.toml", PlanText: "rounds = 3\n", Command: "midge bench compare example.toml",
		Build: "midge 1.2.3", Commit: "abc123", Load: "0.10 0.20 0.30", LoadAfter: "2.10 0.20 0.30", Rounds: 3, Base: "old",
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Ended: time.Date(2026, 1, 2, 3, 5, 10, 0, time.UTC),
		Brokers: []Contender{
			{Name: "old", Version: "old 1.0", Command: []string{"old", "-c", "{dir}/old.conf"}, Files: []File{{"old.conf", "listener {port}\nfast true\n"}}},
			{Name: "new", Command: []string{"new", "--port", "{port}"}},
		},
		Scenarios: []Load{{Name: "pairs", About: "As fast as they can.", Headline: "rate", Scenario: pairs}, {Name: "idle", Headline: "memory-connection", Scenario: idle}},
	}
	environment := bench.Environment{OS: "linux", Arch: "amd64", Kernel: "6.1", CPU: "A processor", Cores: 2, Go: "go1.26", Procs: 1, Engine: "epoll"}
	for round, factor := range []float64{1, 1.1, 1.05} {
		for i, b := range c.Brokers {
			rate := []float64{50_000, 400_000}[i] * factor
			lag := latencyOf(t, 50)
			c.Runs = append(c.Runs, Run{Round: round + 1, Scenario: "pairs", Broker: b.Name, Result: &bench.Result{
				Scenario: pairs, Broker: b.Name, MQTT: "3.1.1", Transport: "tcp", Seconds: 2, Environment: environment,
				Connects: bench.Connects{Clients: 4, PerSecond: 100}, Published: bench.Count{Messages: uint64(2 * rate), PerSecond: rate},
				Received: bench.Count{Messages: uint64(2 * rate), PerSecond: rate}, Latency: latencyOf(t, 100*int64(2-i), 150, 200, 5000*int64(round+1)),
				Lag: lag, BrokerUse: &bench.Usage{MicrosPerMsg: 10 / float64(9*i+1) * factor, RSS: 9_000_000, RSSPerConn: 5000},
				BenchUse: bench.Usage{MicrosPerMsg: 0.9}, Notes: []string{"the bench itself wrote up to 50µs late"},
			}}, Run{Round: round + 1, Scenario: "idle", Broker: b.Name, Result: &bench.Result{
				Scenario: idle, Broker: b.Name, MQTT: "3.1.1", Transport: "tcp", Environment: environment,
				Connects:  bench.Connects{Clients: 100, PerSecond: 1000, Time: latencyOf(t, 300, 400)},
				BrokerUse: &bench.Usage{RSS: 8_000_000, RSSPerConn: 1000 + 10*float64(round) - 5*float64(i), ConnectMicros: 20},
			}})
		}
	}
	return c
}

// faulty is example with a run that lost messages and one that didn't finish.
func faulty(t *testing.T) *Comparison {
	c := example(t)
	c.Runs[0].Result.Faults = []string{"3 messages LOST", "a PUBACK for nothing", "a lie", "another", "yet another"}
	c.Runs[3].Result, c.Runs[3].Error, c.Runs[3].Output = nil, "the broker ended in the middle of the run: signal: aborted", "panic: out of ideas\n\tat line 3"
	c.Incomplete = "interrupted after 8 of 12 runs"
	return c
}

func written(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b strings.Builder
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestReports compares the reports with what they were. To see what changed,
// run with -update and look at the difference.
func TestReports(t *testing.T) {
	for name, c := range map[string]*Comparison{"good": example(t), "faulty": faulty(t)} {
		golden(t, name+".md", written(t, func(w io.Writer) error { return c.WriteMarkdown(w, "plot.svg", "page.html") }))
		golden(t, name+".html", written(t, c.WriteHTML))
		svg := written(t, c.WriteSVG)
		if strings.Contains(svg, "var(") {
			t.Errorf("%s.svg has CSS variables, which many programs show in black", name)
		}
		golden(t, name+".svg", svg)
	}
}

// TestGoFormat proves that benchstat gets a line for each round.
func TestGoFormat(t *testing.T) {
	text := written(t, faulty(t).WriteGo)
	if got := strings.Count(text, "\nBenchmarkMQTT/scenario="); got != 11 || strings.Count(text, "/broker=old") != 6 {
		t.Errorf("%d lines, want 11:\n%s", got, text)
	}
}

// TestReportsShout proves that each form of report says first that there were
// faults.
func TestReportsShout(t *testing.T) {
	c := faulty(t)
	for name, text := range map[string]string{
		"markdown": written(t, func(w io.Writer) error { return c.WriteMarkdown(w, "", "") }),
		"page":     written(t, c.WriteHTML),
		"picture":  written(t, c.WriteSVG),
	} {
		at := strings.Index(text, "FAULTS in 2 of 12 runs, and the comparison was interrupted after 8 of 12 runs.")
		if at < 0 || strings.Contains(text[:at], "pairs") {
			t.Errorf("%s: no shout at the top", name)
		}
		if name == "picture" {
			continue
		}
		for _, want := range []string{
			"round 1, pairs, old", "3 messages LOST", "a PUBACK for nothing", "round 1, idle, new", "and 2 more, in the JSON file",
			"signal: aborted", "panic: out of ideas",
			"see the top: figures of old are those of a broker", "figures of new are those",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q", name, want)
			}
		}
	}
	good := example(t)
	if text := written(t, good.WriteHTML); strings.Contains(text, "FAULT") || !strings.Contains(text, "No faults in 12 runs") {
		t.Error("the page of a good comparison shouts")
	}
}

// TestReportsStateTheirOrigin proves that a report says where its figures come
// from.
func TestReportsStateTheirOrigin(t *testing.T) {
	c := example(t)
	for name, text := range map[string]string{
		"markdown": written(t, func(w io.Writer) error { return c.WriteMarkdown(w, "", "") }), "page": written(t, c.WriteHTML),
	} {
		for _, want := range []string{
			"A processor, 2 cores, linux/amd64 6.1", "2026-01-02 03:04 UTC, 1m5s", "abc123", "midge bench compare example.toml",
			"example.toml", "old 1.0", "version unknown", "midge 1.2.3", "0.10 0.20 0.30", "2.10 0.20", "new --port {port}", "fast true",
			"a figure spreads over 10 % of its median", "3, interleaved",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q", name, want)
			}
		}
	}
}

var outside = regexp.MustCompile(`(?i)https?:|src=|@import|url\(|<script|<link [^>]*href="[^d]`)

// TestPageNeedsNothingElse proves that the page has no links to the outside,
// no scripts, and nothing that a name or an output could put into it.
func TestPageNeedsNothingElse(t *testing.T) {
	const evil = `<script src="http://evil.example/">&"'</script>`
	c := faulty(t)
	c.Title, c.About, c.Plan, c.PlanText, c.Command, c.Build, c.Commit, c.Incomplete = evil, evil, evil, evil, evil, evil, evil, evil
	c.Base = evil
	for i := range c.Brokers {
		c.Brokers[i].Version, c.Brokers[i].Command, c.Brokers[i].Files = evil, []string{evil}, []File{{evil, evil}}
	}
	c.Brokers[0].Name, c.Scenarios[0].Name, c.Scenarios[0].About = evil, evil, evil
	for i := range c.Runs {
		r := &c.Runs[i]
		if r.Broker == "old" {
			r.Broker = evil
		}
		if r.Scenario == "pairs" {
			r.Scenario = evil
		}
		r.Error, r.Output = evil, evil
		if r.Result != nil {
			r.Result.Scenario.Name, r.Result.Notes, r.Result.Faults = evil, []string{evil}, []string{evil}
			r.Result.Environment.CPU = evil
		}
	}
	page := written(t, c.WriteHTML)
	if strings.Contains(page, "<script") || strings.Contains(page, `src="`) {
		t.Error("text got into the page as markup")
	}
	if found := outside.FindString(strings.ReplaceAll(page, "http://evil.example", "")); found != "" && !strings.Contains(found, "src=") {
		t.Errorf("the page needs %s", found)
	}
	if found := outside.FindString(written(t, example(t).WriteHTML)); found != "" {
		t.Errorf("the page needs %s", found)
	}
	picture := written(t, c.WriteSVG)
	if strings.Contains(picture, "<script") {
		t.Error("text got into the picture as markup")
	}
}

// TestPicturesAreXML proves that the plots are well formed.
func TestPicturesAreXML(t *testing.T) {
	page := written(t, example(t).WriteHTML)
	pictures := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1)
	if len(pictures) != 5 { // latency, rate and CPU; time to connect and memory
		t.Errorf("%d plots on the page", len(pictures))
	}
	pictures = append(pictures, written(t, example(t).WriteSVG))
	for _, p := range pictures {
		d := xml.NewDecoder(strings.NewReader(p))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in\n%s", err, p)
			}
		}
		if strings.Contains(p, "NaN") || strings.Contains(p, "Inf") {
			t.Errorf("a place that is no number in\n%s", p)
		}
	}
}

// TestEmptyReport proves that a comparison without a single result can be
// reported.
func TestEmptyReport(t *testing.T) {
	c := example(t)
	for i := range c.Runs {
		c.Runs[i].Result, c.Runs[i].Error = nil, "refused"
	}
	if _, err := c.Write(filepath.Join(t.TempDir(), "empty")); err != nil {
		t.Error(err)
	}
	if page := written(t, c.WriteHTML); !strings.Contains(page, "FAULTS in 12 of 12 runs") || strings.Contains(page, "NaN") {
		t.Error(page)
	}
}

// TestWriteAndRead proves that the reports can be made again from the results.
func TestWriteAndRead(t *testing.T) {
	dir := t.TempDir()
	names, err := faulty(t).Write(filepath.Join(dir, "new", "report"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Read(filepath.Join(dir, "new", "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Write(filepath.Join(dir, "again", "report"))
	if err != nil || len(names) != 5 || len(again) != 5 {
		t.Fatal(names, again, err)
	}
	for i := range names {
		a, _ := os.ReadFile(names[i])
		b, _ := os.ReadFile(again[i])
		if len(a) == 0 || !bytes.Equal(a, b) {
			t.Errorf("%s differs from %s", names[i], again[i])
		}
	}
}

func TestReadFaults(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"no.json": "{", "empty.json": "{}"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(filepath.Join(dir, "none.json")); err == nil {
		t.Error("read what isn't there")
	}
	c := example(t)
	c.Runs[0].Result.Latency.Histogram = "HISTFAAAACF42pNpmSzM"
	if _, err := c.Write(filepath.Join(dir, "x")); err == nil || !strings.Contains(err.Error(), "round 1, pairs, old") {
		t.Errorf("a broken histogram: %v", err)
	}
}
