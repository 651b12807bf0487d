//go:build linux

// Command compare runs scenarios of load against several brokers and prints a table of medians in Markdown.
//
//	go run ./bench/compare -rounds 5 -out bench/results/brokers.md
//
// It builds what is built from this repository, and starts each broker anew for each run, in a process group of its own,
// on a free port of 127.0.0.1. Rounds are interleaved (A B C A B C), so that a slow stretch of the machine hits all. A
// fault that load reports, such as a lost message, is printed, noted in the table and makes the exit status 1.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"midge/bench/internal/harness"
)

// startLimit bounds the time that a broker may take to listen, and loadLimit that of a run.
const (
	startLimit = 5 * time.Second
	loadLimit  = 2 * time.Minute
)

func main() {
	names := flag.String("brokers", "mosquitto,mochi,midge", "`names` of brokers: mosquitto, mochi, midge; the first is what the others are compared with")
	only := flag.String("scenarios", "", "`names` of scenarios, all if empty")
	rounds := flag.Int("rounds", 5, "`number` of rounds")
	measure := flag.Duration("time", 3*time.Second, "`time` measured in each run of a loop")
	midge := flag.String("midge", "", "`path` of a midge to use instead of building it")
	out := flag.String("out", "", "`file` to write the result to, as well")
	lock := flag.String("lock", "", "`file` to lock during each run, on a machine that is shared")
	flag.Parse()
	r := &runner{rounds: *rounds, measure: *measure, lock: *lock, brokers: strings.Split(*names, ","), scenarios: pick(*only)}
	if err := r.run(*midge, *out); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func pick(names string) []scenario {
	all := allScenarios()
	if names == "" {
		return all
	}
	wanted := strings.Split(names, ",")
	return slices.DeleteFunc(all, func(s scenario) bool { return !slices.Contains(wanted, s.name) })
}

// runner holds what a comparison is made of and its samples.
type runner struct {
	rounds    int
	measure   time.Duration
	lock      string
	brokers   []string
	scenarios []scenario
	dir       string // of binaries and configuration, temporary
	samples   map[sampleKey][]float64
	faults    []string
}

type sampleKey struct{ scenario, figure, broker string }

func (r *runner) run(midge, out string) (err error) {
	if r.dir, err = os.MkdirTemp("", "midge-compare-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	if err := r.build(midge); err != nil {
		return err
	}
	r.samples = make(map[sampleKey][]float64)
	for round := range r.rounds {
		for _, s := range r.scenarios {
			for _, broker := range r.contenders(s) {
				if err := r.sample(s, broker, round); err != nil {
					return err
				}
			}
		}
	}
	text := r.report()
	fmt.Print(text)
	if out != "" {
		if err := os.WriteFile(out, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if len(r.faults) > 0 {
		return fmt.Errorf("%d faults", len(r.faults))
	}
	return nil
}

// contenders are the brokers, and the floor where it can take part.
func (r *runner) contenders(s scenario) []string {
	if s.floor {
		return append(slices.Clone(r.brokers), "floor")
	}
	return r.brokers
}

func (r *runner) build(midge string) error {
	commands := map[string]harness.Package{"load": {Module: ".", Path: "./bench/load"}, "floor": {Module: ".", Path: "./bench/floor"}}
	if slices.Contains(r.brokers, "mochi") {
		commands["mochi"] = harness.Package{Module: "bench/mochi", Path: "."}
	}
	if slices.Contains(r.brokers, "midge") && midge == "" {
		commands["midge"] = harness.Package{Module: ".", Path: "./cmd/midge"}
	}
	if err := harness.Build(r.dir, commands); err != nil {
		return err
	}
	if midge != "" {
		path, err := filepath.Abs(midge)
		if err != nil {
			return err
		}
		return os.Symlink(path, filepath.Join(r.dir, "midge"))
	}
	return nil
}

// sample runs a scenario once against a new broker process.
func (r *runner) sample(s scenario, broker string, round int) (err error) {
	unlock, err := harness.Lock(r.lock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	p, err := r.start(broker)
	if err != nil {
		return fmt.Errorf("start %s: %w", broker, err)
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	args := append([]string{"-addr", p.Address, "-pid", fmt.Sprint(p.PID()), "-time", r.measure.String()}, s.args...)
	figures, faults := harness.Figures(loadLimit, filepath.Join(r.dir, "load"), args...)
	for _, f := range faults {
		f = fmt.Sprintf("round %d, %s, %s: %s", round+1, s.name, broker, f)
		fmt.Fprintln(os.Stderr, "FAULT:", f)
		r.faults = append(r.faults, f)
	}
	for name, v := range figures {
		key := sampleKey{s.name, name, broker}
		r.samples[key] = append(r.samples[key], v)
	}
	fmt.Fprintf(os.Stderr, "round %d %-16s %-10s %v\n", round+1, s.name, broker, figures)
	return nil
}

func (r *runner) start(broker string) (*harness.Process, error) {
	address, err := harness.FreeAddress()
	if err != nil {
		return nil, err
	}
	name, args, err := r.command(broker, address)
	if err != nil {
		return nil, err
	}
	p, err := harness.Spawn(r.dir, address, name, args...)
	if err != nil {
		return nil, err
	}
	return p, p.Listening(startLimit)
}
