package compare

import (
	"fmt"
	"strings"

	"midge/internal/bench"
)

// summary is a run in one line, for whoever watches.
func summary(r *Run, l *Load) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s:", r.Scenario, r.Broker)
	if r.Result != nil {
		for _, key := range summaryFigures(l) {
			f, _ := figureOf(key)
			if v, ok := f.of(r.Result); ok {
				fmt.Fprintf(&b, "  %s %s", f.Name, format(v, f.Unit))
			}
		}
	}
	for _, fault := range shortened(r.faults()) {
		fmt.Fprintf(&b, "\n        FAULT in round %d, %s, %s: %s", r.Round, r.Scenario, r.Broker, fault)
	}
	return b.String()
}

// summaryFigures are the figures that say most about a scenario: its headline
// first.
func summaryFigures(l *Load) []string {
	keys := []string{l.Headline}
	for _, k := range []string{"rate", "p50", "p99", "cpu", "memory-connection"} {
		if k != l.Headline && !(k == "memory-connection" && l.Scenario.Publishers > 0) {
			keys = append(keys, k)
		}
	}
	return keys
}

// environment is where the runs took place, as the first result tells it.
func (c *Comparison) environment() (bench.Environment, bool) {
	for i := range c.Runs {
		if r := c.Runs[i].Result; r != nil {
			return r.Environment, true
		}
	}
	return bench.Environment{}, false
}
