package compare

import (
	"fmt"
	"slices"
	"time"

	"midge/internal/bench"
)

// Comparison is what was measured, and all that a report is made from. Its
// JSON form is the file of results.
type Comparison struct {
	Title      string    `json:"title"`
	About      string    `json:"about,omitempty"`
	Plan       string    `json:"plan"`      // name of the file
	PlanText   string    `json:"plan_text"` // all of it
	Command    string    `json:"command"`
	Build      string    `json:"build"`
	Commit     string    `json:"commit,omitempty"`
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended"`
	Load       string    `json:"load_average,omitempty"`       // of the machine before the first run
	LoadAfter  string    `json:"load_average_after,omitempty"` // and after the last
	Rounds     int       `json:"rounds"`
	Base       string    `json:"base"` // broker that ratios refer to
	Incomplete string    `json:"incomplete,omitempty"`

	Brokers   []Contender `json:"brokers"`
	Scenarios []Load      `json:"scenarios"`
	Runs      []Run       `json:"runs"` // in the order in which they took place
}

// Contender is a broker of a comparison.
type Contender struct {
	Name    string   `json:"name"`
	Version string   `json:"version,omitempty"` // as the broker's own command tells it
	Command []string `json:"command"`           // as the plan has it
	Files   []File   `json:"files,omitempty"`   // that the plan writes for the broker
}

// Load is a scenario of a comparison.
type Load struct {
	Name     string         `json:"name"`
	About    string         `json:"about,omitempty"`
	Headline string         `json:"headline"` // key of the figure that matters most
	Scenario bench.Scenario `json:"scenario"`
}

// load finds the scenario of that name.
func (c *Comparison) load(name string) *Load {
	for i := range c.Scenarios {
		if c.Scenarios[i].Name == name {
			return &c.Scenarios[i]
		}
	}
	return &Load{Name: name}
}

// Run is one scenario against one broker process.
type Run struct {
	Round    int           `json:"round"` // from 1
	Scenario string        `json:"scenario"`
	Broker   string        `json:"broker"`
	Sync     float64       `json:"sync_seconds,omitempty"` // that the disk takes for a small write, just before the run
	Result   *bench.Result `json:"result,omitempty"`
	Error    string        `json:"error,omitempty"`  // why there is no result, or what the broker did besides
	Output   string        `json:"output,omitempty"` // the end of what the broker printed; only with an error
}

// Failed reports whether the run lost something, broke the protocol, or didn't
// come to its end.
func (r *Run) Failed() bool { return r.Error != "" || r.Result != nil && r.Result.Failed() }

// Failed reports whether any run failed, or runs are missing.
func (c *Comparison) Failed() bool {
	for i := range c.Runs {
		if c.Runs[i].Failed() {
			return true
		}
	}
	return c.Incomplete != ""
}

// Failures counts the runs that failed.
func (c *Comparison) Failures() (n int) {
	for i := range c.Runs {
		if c.Runs[i].Failed() {
			n++
		}
	}
	return n
}

// faults are what went wrong in a run, in words.
func (r *Run) faults() (all []string) {
	if r.Error != "" {
		all = append(all, r.Error)
	}
	if r.Result != nil {
		all = append(all, r.Result.Faults...)
	}
	return all
}

// shortened leaves the first faults of a run, which tell what happened; the
// others are examples of the like. The results in JSON have all.
func shortened(faults []string) []string {
	const shown = 3
	if len(faults) <= shown+1 {
		return faults
	}
	return append(slices.Clone(faults[:shown]), fmt.Sprintf("and %d more, in the JSON file", len(faults)-shown))
}
