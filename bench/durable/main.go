//go:build linux

// Command durable measures what it costs that an acknowledgement means "on disk": it runs scenarios against Midge and
// what a user would pick instead, in interleaved rounds, and writes a table of medians and of targets in Markdown.
//
//	go run ./bench/durable -rounds 5 -out bench/results/durable.md
//
// What the file of -out says from its line "# Notes" on was written by hand, and stays.
//
// It builds what is built from this repository, and starts each server anew for each run, on a new data directory and a
// free port of 127.0.0.1. A target that is missed, or a message lost, makes the exit status 1.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"midge/bench/internal/harness"
)

func main() {
	var r runner
	flag.IntVar(&r.rounds, "rounds", 5, "`number` of rounds")
	flag.DurationVar(&r.measure, "time", 3*time.Second, "`time` measured in each run of a loop")
	flag.StringVar(&r.data, "data", "", "`directory` on the disk to measure, for temporary data; the system's if empty")
	flag.StringVar(&r.lock, "lock", "", "`file` to lock during each run, on a machine that is shared")
	flag.IntVar(&r.sessions, "sessions", 100_000, "`number` of sessions of restart")
	flag.IntVar(&r.offline, "offline", 10_000, "`number` of offline sessions of offline")
	flag.IntVar(&r.backlog, "backlog", 1_000_000, "`number` of messages of backlog")
	midge := flag.String("midge", "", "`path` of a midge to use instead of building it")
	only := flag.String("scenarios", "", "`names` of scenarios, all if empty")
	contenders := flag.String("contenders", "", "`names` of contenders, all if empty")
	out := flag.String("out", "", "`file` to write the result to, as well; its notes stay")
	flag.Parse()
	r.scenarios = r.allScenarios()
	if *only != "" {
		wanted := strings.Split(*only, ",")
		r.scenarios = slices.DeleteFunc(r.scenarios, func(s scenario) bool { return !slices.Contains(wanted, s.name) })
	}
	if *contenders != "" {
		wanted := strings.Split(*contenders, ",")
		for i, s := range r.scenarios {
			r.scenarios[i].contenders = slices.DeleteFunc(s.contenders, func(c string) bool { return !slices.Contains(wanted, c) })
		}
	}
	if err := r.run(*midge, *out); err != nil {
		fmt.Fprintln(os.Stderr, "durable:", err)
		os.Exit(1)
	}
}

// A runner holds what is measured, and the samples.
type runner struct {
	rounds    int
	measure   time.Duration
	data      string
	lock      string
	sessions  int
	offline   int
	backlog   int
	scenarios []scenario
	dir       string                          // temporary: binaries, configuration, data
	samples   map[sampleKey]map[int][]float64 // by round: one value for each turn in it
	faults    []string
}

type sampleKey struct{ scenario, contender, figure string }

// syncBefore is the figure that says how fast the disk was just before a run: a disk that is shared changes its mind.
const syncBefore = "disk sync µs before"

func (r *runner) run(midge, out string) (err error) {
	if r.dir, err = os.MkdirTemp(r.data, "midge-durable-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	if err := r.build(midge); err != nil {
		return err
	}
	r.samples = make(map[sampleKey]map[int][]float64)
	for round := range r.rounds {
		for _, s := range r.scenarios {
			for _, contender := range s.contenders {
				if err := r.sample(s, contender, round); err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, contender, err)
				}
			}
		}
	}
	text, missed := r.report()
	fmt.Print(text)
	if out != "" {
		if err := write(out, text); err != nil {
			return err
		}
	}
	if len(r.faults)+missed > 0 {
		return fmt.Errorf("%d targets missed, %d faults", missed, len(r.faults))
	}
	return nil
}

// write replaces what a file says above its notes.
func write(file, text string) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	const notes = "\n# Notes\n"
	if i := strings.Index(string(old), notes); i >= 0 {
		text += string(old)[i:]
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

func (r *runner) build(midge string) error {
	commands := map[string]harness.Package{
		"load":   {Module: ".", Path: "./bench/durable/load"},
		"mochi":  {Module: "bench/mochi", Path: "."},
		"rivals": {Module: "bench/durable/rivals", Path: "."},
	}
	if midge == "" {
		commands["midge"] = harness.Package{Module: ".", Path: "./cmd/midge"}
		return harness.Build(r.dir, commands)
	}
	path, err := filepath.Abs(midge)
	if err != nil {
		return err
	}
	if err := os.Symlink(path, filepath.Join(r.dir, "midge")); err != nil {
		return err
	}
	return harness.Build(r.dir, commands)
}

// sample runs a scenario once against one contender, with a new data directory.
func (r *runner) sample(s scenario, contender string, round int) (err error) {
	unlock, err := harness.Lock(r.lock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	data, err := os.MkdirTemp(r.dir, "data-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	disk, err := syncTime(data)
	if err != nil {
		return err
	}
	figures, faults, err := s.run(&server{runner: r, name: contender, data: data})
	if err != nil {
		return err
	}
	for _, f := range faults {
		f = fmt.Sprintf("round %d, %s, %s: %s", round+1, s.name, contender, f)
		fmt.Fprintln(os.Stderr, "FAULT:", f)
		r.faults = append(r.faults, f)
	}
	if figures != nil {
		figures[syncBefore] = micros(disk)
	}
	for name, v := range figures {
		key := sampleKey{s.name, contender, name}
		if r.samples[key] == nil {
			r.samples[key] = make(map[int][]float64)
		}
		r.samples[key][round] = append(r.samples[key][round], v)
	}
	fmt.Fprintf(os.Stderr, "%s round %d %-12s %-16s %v\n", time.Now().Format(time.TimeOnly), round+1, s.name, contender, figures)
	return nil
}

// load runs the generator of load against s.
func (s *server) load(args ...string) (map[string]float64, []string) {
	args = append([]string{"-addr", s.process.Address, "-pid", fmt.Sprint(s.process.PID())}, args...)
	return harness.Figures(loadLimit, filepath.Join(s.runner.dir, "load"), args...)
}
