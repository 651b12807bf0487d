//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"midge/bench/internal/harness"
)

// report renders the samples as Markdown.
func (r *runner) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", strings.Join(r.brokers, ", "))
	fmt.Fprintf(&b, "Made %s by `go run ./bench/compare %s`.\n\n", time.Now().UTC().Format("2006-01-02 15:04 MST"), strings.Join(os.Args[1:], " "))
	fmt.Fprintf(&b, "- Machine: %s, %d cores, Linux %s; broker and generator share it", harness.CPUModel(), runtime.NumCPU(), harness.FirstLine("uname", "-r"))
	if r.lock != "" {
		b.WriteString(", and so did compilers and tests of others")
	}
	b.WriteString(".\n")
	fmt.Fprintf(&b, "- Versions: %s; mochi-mqtt 2.7.9; midge %s; %s.\n", harness.FirstLine("mosquitto", "-h"),
		harness.FirstLine("git", "describe", "--always", "--dirty"), runtime.Version())
	b.WriteString("- Mosquitto: " + strings.ReplaceAll(strings.TrimSpace(fmt.Sprintf(mosquittoConfig, "PORT")), "\n", "; ") + ".\n")
	b.WriteString("- mochi: default capabilities, all clients allowed, no log. midge: defaults, no log.\n")
	fmt.Fprintf(&b, "- Rounds: %d, interleaved; each run has a new broker process; loops: %v measured after 1 s to warm up.\n", r.rounds, r.measure)
	fmt.Fprintf(&b, "- A cell is the median, then lowest to highest; ×n is the ratio of medians to %s's. CPU is user and system time.\n", r.brokers[0])
	b.WriteString("- In flight: published and either not received by the subscriber or (QoS 1, 2) not acknowledged to the publisher.\n")
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
	return b.String()
}

func (r *runner) table(b *strings.Builder, s scenario) {
	brokers := r.contenders(s)
	fmt.Fprintf(b, "\n## %s\n\n%s.\n\n| | %s |\n|---%s|\n", s.name, strings.ToUpper(s.about[:1])+s.about[1:], strings.Join(brokers, " | "), strings.Repeat("|---:", len(brokers)))
	for _, figure := range s.figures {
		fmt.Fprintf(b, "| %s |", figure)
		base := harness.Median(r.samples[sampleKey{s.name, figure, brokers[0]}])
		for i, broker := range brokers {
			samples := r.samples[sampleKey{s.name, figure, broker}]
			if len(samples) == 0 {
				b.WriteString(" – |")
				continue
			}
			fmt.Fprintf(b, " %s (%s to %s)", harness.Number(harness.Median(samples)), harness.Number(slices.Min(samples)), harness.Number(slices.Max(samples)))
			if i > 0 && base > 0 {
				fmt.Fprintf(b, " ×%.2f", harness.Median(samples)/base)
			}
			b.WriteString(" |")
		}
		b.WriteString("\n")
	}
}
