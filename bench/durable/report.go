//go:build linux

package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"midge/bench/internal/harness"
)

// target is what a figure of a contender must reach: at least or at most a value, on its own or as a ratio over another
// contender's figure in the same round.
type target struct {
	about  string
	figure string
	of     string
	over   string  // the other contender of a ratio; none if empty
	least  float64 // if over is given
	most   float64 // otherwise
	shown  bool    // for comparison only: there is no target

	// overScenario is where the other contender's figure is from, if not from the same scenario.
	overScenario string
	// allowed, if not nil, is what the figure is divided by instead: what a round's other figures allow. get returns the
	// mean of a figure in the round, 0 if there is none.
	allowed func(get func(contender, figure string) float64) float64
}

// measured returns the value for each round that has it.
func (r *runner) measured(s scenario, t target) (values []float64) {
	for round, samples := range r.samples[sampleKey{s.name, t.of, t.figure}] {
		v := mean(samples)
		if !t.ratio() {
			values = append(values, v)
			continue
		}
		if o := r.divisor(s, t, round); o > 0 {
			values = append(values, v/o)
		}
	}
	return values
}

func (t target) ratio() bool { return t.over != "" || t.allowed != nil }

// divisor is what a ratio is over in one round, 0 if something is missing.
func (r *runner) divisor(s scenario, t target, round int) float64 {
	if t.allowed != nil {
		return t.allowed(func(contender, figure string) float64 {
			return mean(r.samples[sampleKey{s.name, contender, figure}][round])
		})
	}
	return mean(r.samples[sampleKey{cmp.Or(t.overScenario, s.name), t.over, t.figure}][round])
}

// met reports whether the median reaches the target.
func (t target) met(values []float64) bool {
	if len(values) == 0 {
		return false
	}
	if t.ratio() {
		return harness.Median(values) >= t.least
	}
	return harness.Median(values) <= t.most
}

// report renders the samples as Markdown, and counts the targets that were missed.
func (r *runner) report() (text string, missed int) {
	var b strings.Builder
	b.WriteString("# What durability costs\n\n")
	fmt.Fprintf(&b, "Made %s by `go run ./bench/durable %s`.\n\n", time.Now().UTC().Format("2006-01-02 15:04 MST"), strings.Join(os.Args[1:], " "))
	fmt.Fprintf(&b, "- Machine: %s, %d cores, Linux %s; servers and generators share it", harness.CPUModel(), runtime.NumCPU(), harness.FirstLine("uname", "-r"))
	if r.lock != "" {
		b.WriteString(", and so did compilers and tests of others")
	}
	var syncs []float64
	for key, samples := range r.samples {
		if key.figure == syncBefore {
			syncs = append(syncs, all(samples)...)
		}
	}
	fmt.Fprintf(&b, ".\n- Disk: %s. One fdatasync after 4 KiB appended takes %s µs: median before each run, lowest to highest.\n",
		strings.Join(strings.Fields(harness.FirstLine("findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", "-T", r.dir)), " "), cell(syncs))
	fmt.Fprintf(&b, "- Versions: midge %s; %s; mochi-mqtt 2.7.9; nats-server 2.15.2; Pebble 2.1.7 (mochi: 1.1.0); %s.\n",
		harness.FirstLine("git", "describe", "--always", "--dirty"), harness.FirstLine("mosquitto", "-h"), runtime.Version())
	b.WriteString(about)
	fmt.Fprintf(&b, "- Rounds: %d, interleaved; each run has a new process and a new data directory; loops: %v measured after 1 s to warm up.\n", r.rounds, r.measure)
	b.WriteString("- A ratio is the median of the rounds' ratios, of means where a contender has several turns in a round.\n")
	b.WriteString("- A cell is the median, then lowest to highest. CPU is user and system time of the server's process.\n")
	b.WriteString("\n## Targets\n\n| scenario | what | target | measured (lowest to highest) | |\n|---|---|---:|---:|---|\n")
	for _, s := range r.scenarios {
		for _, t := range s.targets {
			values := r.measured(s, t)
			verdict := "met"
			limit := "at most " + harness.Number(t.most)
			if t.ratio() {
				limit = "at least " + harness.Number(t.least)
			}
			switch {
			case t.shown:
				limit, verdict = "–", ""
			case !t.met(values):
				verdict = "**missed**"
				missed++
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", s.name, t.about, limit, cell(values), verdict)
		}
	}
	for _, s := range r.scenarios {
		r.table(&b, s)
	}
	b.WriteString("\n## Faults\n\n")
	if len(r.faults) == 0 {
		b.WriteString("None: nothing was lost, repeated or out of order.\n")
	}
	for _, f := range r.faults {
		fmt.Fprintf(&b, "- %s\n", f)
	}
	return b.String(), missed
}

// about says what the contenders are.
const about = `- midge: durability = commit, other settings as they come, no log. midge --memory: nothing on disk; what it reaches is what this machine allows with the generator beside it.
- mosquitto: persistence true; autosave_on_changes true; autosave_interval 1: its whole state is written when something has changed, not synced, and PUBACK doesn't wait for it. mosquitto (exit): the state is written at exit. Both with set_tcp_nodelay true, no log, no limit of queued messages.
- mochi: its Pebble hook in Sync mode. It syncs each record on its own, after PUBACK.
- nats mqtt: its MQTT listener; nats jetstream: its own protocol with one stream of interest, a durable consumer for each subscriber, asynchronous publishing with the same window. Both one node, sync_interval always.
- committer: Pebble with its default options behind one goroutine that commits (Sync) what 100 writers have asked for since the last commit; a writer has as many records in flight as a publisher and deletes each that is on disk. No sockets, no MQTT. append only: without the deletions.
- what the cores allow: the number of cores over the sum of the CPU times per message of the committer, of midge --memory and of the generator beside that.
- In flight: published and either not received by the subscriber or not acknowledged to the publisher; for the committer: not on disk.
- written: bytes of the page cache made dirty by the process, so that what is deleted before it's written back counts as well.
`

func (r *runner) table(b *strings.Builder, s scenario) {
	if len(s.contenders) == 0 {
		return
	}
	var contenders []string
	for _, c := range s.contenders {
		if !slices.Contains(contenders, c) {
			contenders = append(contenders, c)
		}
	}
	fmt.Fprintf(b, "\n## %s\n\n%s.\n\n| | %s |\n|---%s|\n", s.name, strings.ToUpper(s.about[:1])+s.about[1:], strings.Join(contenders, " | "), strings.Repeat("|---:", len(contenders)))
	for _, figure := range s.figures {
		fmt.Fprintf(b, "| %s |", figure)
		for _, contender := range contenders {
			fmt.Fprintf(b, " %s |", cell(all(r.samples[sampleKey{s.name, contender, figure}])))
		}
		b.WriteString("\n")
	}
}

// all are the values of all rounds.
func all(samples map[int][]float64) []float64 {
	return slices.Concat(slices.Collect(maps.Values(samples))...)
}

// mean returns 0 for no values.
func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(max(1, len(values)))
}

// cell writes the median and the spread.
func cell(samples []float64) string {
	if len(samples) == 0 {
		return "–"
	}
	low, high := slices.Min(samples), slices.Max(samples)
	middle := harness.Number(harness.Median(samples))
	if math.Abs(high-low) < 1e-9 {
		return middle
	}
	return fmt.Sprintf("%s (%s to %s)", middle, harness.Number(low), harness.Number(high))
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
