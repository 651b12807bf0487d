// Package compare measures several MQTT brokers against each other: it starts
// them in turn as a plan says, runs the plan's scenarios against them in
// interleaved rounds, and writes reports of medians, spread and plots.
//
// It makes no load of its own: package bench does, through the function in
// Options. One goroutine, the caller of Run, does everything in sequence, so
// that at any time at most one broker runs.
//
// Files, from the bottom up: comparison.go, figures.go, chart.go, toml.go, plan.go, disk.go,
// ready.go, process.go, summary.go, model.go, compare.go, percentiles.go,
// page.go, plot.go, markdown.go, write.go.
package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"midge/internal/bench"
	"midge/internal/proc"
)

// Measure measures a broker under a scenario, as bench.Run does.
type Measure func(context.Context, bench.Target, bench.Scenario) (*bench.Result, error)

// Options are what a comparison needs beyond its plan.
type Options struct {
	Measure Measure
	Midge   string    // path of this program, for the placeholder {midge}
	Build   string    // version of this program
	Commit  string    // of the sources that this program was built from, if known
	Command string    // command line that the report mentions
	Log     io.Writer // gets a line for each run; nil for none

	now func() time.Time // of tests; nil means time.Now
}

// Do carries out a plan. It returns an error alone when nothing was measured:
// a broker that can't be built or started at all, or ctx ends before the first
// run has. When ctx ends later, it returns the finished runs, marked as
// incomplete. What goes wrong in a run is kept with the run.
func Do(ctx context.Context, p *Plan, o Options) (c *Comparison, err error) {
	temporary, err := os.MkdirTemp("", "midge-compare-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the brokers: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	d := &doing{plan: p, options: o, temporary: temporary}
	if d.options.now == nil {
		d.options.now = time.Now
	}
	if err = d.prepare(ctx); err == nil {
		d.rounds(ctx)
	}
	switch {
	case ctx.Err() != nil && (d.result == nil || len(d.result.Runs) == 0):
		return nil, errors.New("interrupted before the first run was finished: there is nothing to report")
	case err != nil:
		return nil, err
	}
	d.result.Ended, d.result.LoadAfter = d.options.now().UTC(), proc.LoadAverage()
	return d.result, nil
}

// doing is a comparison under way.
type doing struct {
	plan      *Plan
	options   Options
	temporary string // directory of all that brokers are built from and write
	started   int    // broker processes so far
	result    *Comparison
}

func (d *doing) logf(format string, args ...any) {
	if d.options.Log != nil {
		fmt.Fprintf(d.options.Log, format+"\n", args...)
	}
}

// prepare builds the brokers and starts each once, so that a mistake in the
// plan shows before the first round and not in the middle of it.
func (d *doing) prepare(ctx context.Context) error {
	p, o := d.plan, d.options
	d.result = &Comparison{
		Title: p.Title, About: p.About, Plan: filepath.Base(p.Name), PlanText: p.Text, Command: o.Command, Build: o.Build,
		Commit: o.Commit, Started: o.now().UTC(), Load: proc.LoadAverage(), Rounds: p.Rounds, Base: p.Base,
	}
	for i := range p.Scenarios {
		s := &p.Scenarios[i]
		d.result.Scenarios = append(d.result.Scenarios, Load{
			Name: s.Name, About: s.About, Headline: cmp.Or(s.Headline, headline(s.Scenario)), Scenario: s.Scenario,
		})
	}
	for i := range p.Brokers {
		b := &p.Brokers[i]
		version, err := d.try(ctx, b)
		if err != nil {
			return fmt.Errorf("broker %s: %w", b.Name, err)
		}
		d.logf("%s: %s", b.Name, cmp.Or(version, "starts"))
		d.result.Brokers = append(d.result.Brokers, Contender{Name: b.Name, Version: version, Command: b.Command, Files: b.Files})
	}
	return nil
}

// try builds a broker, asks for its version, starts and stops it.
func (d *doing) try(ctx context.Context, b *Broker) (version string, err error) {
	if len(b.Build) > 0 {
		d.logf("%s: building", b.Name)
		if err := d.build(ctx, b); err != nil {
			return "", err
		}
	}
	if version, err = d.version(ctx, b); err != nil {
		return "", err
	}
	s, err := d.start(ctx, b)
	if err != nil {
		return "", err
	}
	return version, errors.Join(s.stop(d.plan.Stop), s.remove())
}

// rounds runs all scenarios against all brokers, round by round, so that a
// slow stretch of the machine hits all of them.
func (d *doing) rounds(ctx context.Context) {
	order := d.plan.order()
	d.logf("%s, at least %v", runs(len(order)), d.plan.least())
	for i, r := range order {
		var run Run
		if ctx.Err() == nil {
			run = d.run(ctx, r.round, r.scenario, r.broker)
		}
		if ctx.Err() != nil && (run.Result == nil || run.Result.Interrupted > 0) { // it may have failed for that alone
			d.result.Incomplete = fmt.Sprintf("interrupted after %d of %d runs", i, len(order))
			d.logf("%s: these are reported", d.result.Incomplete)
			return
		}
		d.result.Runs = append(d.result.Runs, run)
		d.logf("%3d/%d  round %d  %s", i+1, len(order), r.round, summary(&run, d.result.load(run.Scenario)))
	}
}

// turn is a place in the order of runs.
type turn struct {
	round    int
	scenario *Scenario
	broker   *Broker
}

// least is the time that the plan takes if brokers start and stop at once.
func (p *Plan) least() (sum time.Duration) {
	for _, t := range p.order() {
		s := &t.scenario.Scenario
		if sum += time.Duration(s.Settle); s.Messages == 0 {
			sum += time.Duration(s.WarmUp + s.Duration)
		}
		if s.ConnectRate > 0 {
			sum += time.Duration(float64(s.Publishers+s.Subscribers+s.Clients) / s.ConnectRate * float64(time.Second))
		}
	}
	return sum.Round(time.Second)
}

// order lists the runs: A B A B for each scenario, round by round, without the
// brokers that a scenario leaves out.
func (p *Plan) order() (all []turn) {
	for round := range p.Rounds {
		for s := range p.Scenarios {
			for b := range p.Brokers {
				if !p.Scenarios[s].has(p.Brokers[b].Name) {
					continue
				}
				all = append(all, turn{round + 1, &p.Scenarios[s], &p.Brokers[b]})
			}
		}
	}
	return all
}

// run measures one scenario against a new process of one broker.
func (d *doing) run(ctx context.Context, round int, s *Scenario, b *Broker) Run {
	run := Run{Round: round, Scenario: s.Name, Broker: b.Name, Sync: syncTime(d.temporary).Seconds()}
	server, err := d.start(ctx, b)
	if err != nil {
		run.Error = err.Error()
		return run
	}
	pid, err := d.pid(ctx, b, server)
	if err == nil {
		target := b.Target
		target.Name, target.Address, target.PID = b.Name, server.address, pid
		target.Restart = func(ctx context.Context, kill bool) (bench.Restarting, error) {
			r, err := server.restart(ctx, kill, d.plan)
			if err == nil {
				r.PID, err = d.pid(ctx, b, server)
			}
			return r, err
		}
		run.Result, err = server.during(ctx, func(ctx context.Context) (*bench.Result, error) {
			return d.options.Measure(ctx, target, s.Scenario)
		})
	}
	if err = errors.Join(err, server.stop(d.plan.Stop)); err != nil {
		run.Error, run.Output = err.Error(), server.output()
	}
	if err := server.remove(); err != nil {
		run.Error = errors.Join(errors.New(run.Error), err).Error()
	}
	return run
}
