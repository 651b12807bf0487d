//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report renders the samples as Markdown.
func (r *runner) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", strings.Join(r.brokers, ", "))
	fmt.Fprintf(&b, "Made %s by `go run ./bench/compare %s`.\n\n", time.Now().UTC().Format("2006-01-02 15:04 MST"), strings.Join(os.Args[1:], " "))
	fmt.Fprintf(&b, "- Machine: %s, %d cores, Linux %s; broker and generator share it", cpuModel(), runtime.NumCPU(), firstLine("uname", "-r"))
	if r.lock != "" {
		b.WriteString(", and so did compilers and tests of others")
	}
	b.WriteString(".\n")
	fmt.Fprintf(&b, "- Versions: %s; mochi-mqtt 2.7.9; midge %s; %s.\n", firstLine("mosquitto", "-h"),
		firstLine("git", "describe", "--always", "--dirty"), runtime.Version())
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
		base := median(r.samples[sampleKey{s.name, figure, brokers[0]}])
		for i, broker := range brokers {
			samples := r.samples[sampleKey{s.name, figure, broker}]
			if len(samples) == 0 {
				b.WriteString(" – |")
				continue
			}
			fmt.Fprintf(b, " %s (%s to %s)", number(median(samples)), number(slices.Min(samples)), number(slices.Max(samples)))
			if i > 0 && base > 0 {
				fmt.Fprintf(b, " ×%.2f", median(samples)/base)
			}
			b.WriteString(" |")
		}
		b.WriteString("\n")
	}
}

func median(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(samples))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// number writes three digits, or all before the point.
func number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// firstLine returns the first line that a command prints, whatever its exit status: mosquitto -h ends with 3.
func firstLine(name string, args ...string) string {
	text, _ := exec.Command(name, args...).Output()
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
