package compare

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// section is what a report says about one scenario.
type section struct {
	load  *Load
	rows  []row
	notes []string // of the bench, each once
}

// row is a figure of all brokers.
type row struct {
	figure Figure
	cells  []cell // in the order of the brokers
}

// cell is a figure of one broker.
type cell struct {
	stats Stats
	ok    bool    // there is a value
	ratio float64 // of medians, to the base broker; 0 for the base itself and without one
	noise bool    // the difference to the base may be noise
	best  bool    // better than all others, and by more than the spread
}

// sections makes the tables of a report.
func (c *Comparison) sections() (all []section) {
	for i := range c.Scenarios {
		s := section{load: &c.Scenarios[i]}
		for _, f := range figures() {
			if r, ok := c.row(f, s.load.Name); ok {
				s.rows = append(s.rows, r)
			}
		}
		s.notes = c.notes(s.load.Name)
		all = append(all, s)
	}
	return all
}

// notes are what the bench has noted in the runs of a scenario. Notes of a
// broker that differ in their numbers only become one.
func (c *Comparison) notes(scenario string) (all []string) {
	var kinds []string
	rounds := map[string][]string{}
	first := map[string]string{}
	for i := range c.Runs {
		r := &c.Runs[i]
		if r.Scenario != scenario || r.Result == nil {
			continue
		}
		for _, n := range r.Result.Notes {
			n = r.Broker + ": " + n
			kind := numbers().ReplaceAllString(n, "")
			if first[kind] == "" {
				first[kind], kinds = n, append(kinds, kind)
			}
			rounds[kind] = append(rounds[kind], strconv.Itoa(r.Round))
		}
	}
	for _, kind := range kinds {
		n := first[kind]
		switch of := rounds[kind]; {
		case len(of) > 1:
			n += fmt.Sprintf(" (round %s; the like in %s)", of[0], strings.Join(of[1:], ", "))
		case c.Rounds > 1:
			n += fmt.Sprintf(" (round %s)", of[0])
		}
		all = append(all, n)
	}
	return all
}

// numbers are numbers with a unit of time.
var numbers = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[0-9][0-9.,]*\s?[nµm]?s?`) })

// row makes the row of a figure; ok is false if no broker has it.
func (c *Comparison) row(f Figure, scenario string) (r row, ok bool) {
	r = row{figure: f, cells: make([]cell, len(c.Brokers))}
	var base Stats
	for i, b := range c.Brokers {
		cell := &r.cells[i]
		cell.stats, cell.ok = c.stats(f, scenario, b.Name)
		ok = ok || cell.ok
		if b.Name == c.Base {
			base = cell.stats
		}
	}
	for i, b := range c.Brokers {
		if cell := &r.cells[i]; cell.ok && b.Name != c.Base && base.Median > 0 {
			cell.ratio, cell.noise = cell.stats.Median/base.Median, cell.stats.noisy(base, c.lag(f, scenario, b.Name, c.Base))
		}
	}
	for i := range r.cells {
		r.cells[i].best = r.beats(i, func(j int) float64 { return c.lag(f, scenario, c.Brokers[i].Name, c.Brokers[j].Name) })
	}
	return r, ok
}

// beats reports whether broker i is better than all others by more than the
// spread, and than the bench's own lag beside each.
func (r *row) beats(i int, lag func(j int) float64) bool {
	mine, others := &r.cells[i], 0
	if !mine.ok || r.figure.Better == 0 {
		return false
	}
	for j := range r.cells {
		other := &r.cells[j]
		if j == i || !other.ok {
			continue
		}
		others++
		more := mine.stats.Median > other.stats.Median
		if more != (r.figure.Better > 0) || mine.stats.noisy(other.stats, lag(j)) {
			return false
		}
	}
	return others > 0
}

// find returns the row of a figure.
func (s *section) find(key string) (row, bool) {
	for _, r := range s.rows {
		if r.figure.Key == key {
			return r, true
		}
	}
	return row{}, false
}

// ratioText writes a ratio, with "≈" if it may be noise.
func (c *cell) ratioText() string {
	switch {
	case c.ratio == 0:
		return ""
	case c.noise:
		return "≈ ×" + times(c.ratio)
	}
	return "×" + times(c.ratio)
}

// times writes a ratio.
func times(ratio float64) string {
	if ratio < 9.995 {
		return strconv.FormatFloat(ratio, 'f', 2, 64)
	}
	return digits(ratio)
}

// failure is a run that failed, for the top of a report.
type failure struct {
	where  string
	faults []string
	output string // of the broker
}

func (c *Comparison) failures() (all []failure) {
	for i := range c.Runs {
		if r := &c.Runs[i]; r.Failed() {
			all = append(all, failure{fmt.Sprintf("round %d, %s, %s", r.Round, r.Scenario, r.Broker), shortened(r.faults()), r.Output})
		}
	}
	return all
}

// warning tells which brokers' figures of a scenario come from faulty runs.
func (c *Comparison) warning(scenario string) string {
	var names []string
	for i := range c.Runs {
		if r := &c.Runs[i]; r.Scenario == scenario && r.Failed() && !slices.Contains(names, r.Broker) {
			names = append(names, r.Broker)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "FAULTS, see the top: figures of " + strings.Join(names, ", ") + " are those of a broker that didn't do its work."
}

// verdict is the first thing that a report says.
func (c *Comparison) verdict() string {
	n, failed := len(c.Runs), c.Failures()
	switch {
	case failed > 0 && c.Incomplete != "":
		return fmt.Sprintf("FAULTS in %d of %s, and the comparison was %s.", failed, runs(n), c.Incomplete)
	case failed > 0:
		return fmt.Sprintf("FAULTS in %d of %s.", failed, runs(n))
	case c.Incomplete != "":
		return "INCOMPLETE: " + c.Incomplete + "."
	}
	return fmt.Sprintf("No faults in %s: nothing was lost, repeated, out of order or against the protocol.", runs(n))
}

func runs(n int) string {
	if n == 1 {
		return "1 run"
	}
	return fmt.Sprintf("%d runs", n)
}

// fact is something that the reader of figures must know.
type fact struct{ name, text string }

// facts say where, when and how the figures were made.
func (c *Comparison) facts() (all []fact) {
	add := func(name, text string) {
		if text != "" {
			all = append(all, fact{name, text})
		}
	}
	add("Date", fmt.Sprintf("%s, %s", c.Started.Format("2006-01-02 15:04 MST"), c.Ended.Sub(c.Started).Round(time.Second)))
	if e, ok := c.environment(); ok {
		add("Machine", fmt.Sprintf("%s, %d cores, %s", cmp.Or(e.CPU, "unknown processor"), e.Cores, strings.TrimSpace(e.OS+"/"+e.Arch+" "+e.Kernel)))
		add("Bench", fmt.Sprintf("%s; %s, worker processes: %d; on the same machine as the brokers", c.Build, e.Engine, e.Procs))
	} else {
		add("Bench", c.Build)
	}
	add("Commit", c.Commit)
	add("Command", c.Command)
	add("Plan", c.Plan)
	for _, b := range c.Brokers {
		add(b.Name, cmp.Or(b.Version, "version unknown"))
	}
	add("Rounds", fmt.Sprintf("%d, interleaved; a new broker process for each run", c.Rounds))
	add("Load average", c.loadText())
	add("Disk", c.disk())
	add("Noise", c.noise())
	return all
}

func (c *Comparison) loadText() string {
	if c.Load == "" {
		return ""
	}
	return fmt.Sprintf("%s (1, 5 and 15 minutes) before the first run, %s after the last; broker and bench together make up to the number of cores, the rest is others'", c.Load, cmp.Or(c.LoadAfter, "unknown"))
}

// noise sums up how far the rounds are apart.
func (c *Comparison) noise() string {
	type spread struct {
		value float64
		where string
	}
	var all []spread
	for _, s := range c.sections() {
		for _, key := range []string{"rate", "resumed", "last", "p50", "p99", "connects", "cpu", "memory-connection"} {
			r, _ := s.find(key)
			for i := range r.cells {
				if v := r.cells[i].stats; r.cells[i].ok && len(v.Values) > 1 {
					all = append(all, spread{v.Spread(), fmt.Sprintf("%s, %s, %s", s.load.Name, c.Brokers[i].Name, r.figure.Name)})
				}
			}
		}
	}
	if len(all) == 0 {
		return "unknown: one round tells nothing about it"
	}
	slices.SortStableFunc(all, func(a, b spread) int { return cmp.Compare(a.value, b.value) })
	worst := all[len(all)-1]
	return fmt.Sprintf("from lowest to highest round, a figure spreads over %s %% of its median (median of %d figures); the worst over %s %% (%s)",
		digits(math.Round(all[len(all)/2].value*100)), len(all), digits(math.Round(worst.value*100)), worst.where)
}

// legend explains cells.
func (c *Comparison) legend() string {
	return fmt.Sprintf("A cell is the median of the rounds, then lowest to highest. ×n is the ratio of medians to %s's, ≈ where the difference may be noise: the ranges touch, there are fewer than three rounds, or the bench's own lag is larger. Bold is better than all others by more than that.", c.Base)
}
