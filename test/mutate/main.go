// Command mutate changes one small thing at a time in the packages that decide
// what happens to messages, and runs the tests that reach it: a change that no
// test sees is a test that is missing. It picks places by a seed, builds all
// changes into one set of test binaries, and switches one on for each run, so
// that nothing is compiled twice.
//
// It prints those that no test has seen. Those in known.txt, with their reasons,
// don't count; any other makes the exit status 1.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// tested maps each package that is changed to those whose tests are to see it.
// Each is asked only about what those before it have not seen. The conformance
// tests are not asked: they wait for sockets most of the time.
var tested = map[string][]string{
	"internal/topic":             {"internal/topic", "internal/broker"},
	"internal/session":           {"internal/session", "internal/broker"},
	"internal/store":             {"internal/store", "internal/broker", "internal/store/pebblestore"},
	"internal/store/pebblestore": {"internal/store/pebblestore"},
	"internal/broker":            {"internal/broker"},
}

//go:embed known.txt
var known string

func main() {
	n := flag.Int("n", 200, "how many changes to try")
	seed := flag.Uint64("seed", 1, "which ones")
	only := flag.String("only", "", "only those whose place and text this regular expression matches")
	jobs := flag.Int("jobs", 2, "how many runs at one time")
	flag.Parse()
	survived, err := mutate(*n, *seed, *only, *jobs)
	switch {
	case err != nil:
		stop(err)
	case survived > 0:
		os.Exit(1)
	}
}

func stop(err error) {
	fmt.Fprintln(os.Stderr, "mutate:", err)
	os.Exit(1)
}

func mutate(n int, seed uint64, only string, jobs int) (survived int, err error) {
	excused, err := excuses()
	if err != nil {
		return 0, err
	}
	pattern, err := regexp.Compile(only)
	if err != nil {
		return 0, err
	}
	all, err := find(pattern)
	if err != nil {
		return 0, err
	}
	for i := range all {
		all[i].known = excused[all[i].name]
		delete(excused, all[i].name)
	}
	if only == "" && len(excused) > 0 {
		return 0, fmt.Errorf("known.txt: there is no %q any more", slices.Sorted(maps.Keys(excused)))
	}
	chosen := choose(all, n, seed)
	fmt.Printf("%d places, %d chosen by seed %d\n", len(all), len(chosen), seed)
	dir, err := os.MkdirTemp("", "midge-mutate-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	b := bench{dir: dir, jobs: jobs, tests: map[string][]test{}}
	if err := b.write(chosen); err != nil {
		return 0, err
	}
	if err := b.run(chosen); err != nil {
		return 0, err
	}
	counts := map[string]*count{}
	for i := range chosen {
		m := &chosen[i]
		pkg := filepath.Dir(m.file)
		if counts[pkg] == nil {
			counts[pkg] = &count{}
		}
		c := counts[pkg]
		c.made++
		switch {
		case m.seen != "":
			c.seen++
		case m.known != "":
			c.known++
			fmt.Printf("known    %s: %s\n", m.name, m.known)
		default:
			survived++
			fmt.Printf("SURVIVED %s:%d: %s\n", m.file, m.line, m.name)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(counts)) {
		c := counts[pkg]
		fmt.Printf("%s: %d of %d were seen, %d are known, %d survived\n", pkg, c.seen, c.made, c.known, c.made-c.seen-c.known)
	}
	return survived, nil
}

// count counts the changes of a package.
type count struct{ made, seen, known int }

// choose picks n mutants that can be built in together.
func choose(all []mutant, n int, seed uint64) (chosen []mutant) {
	rng := rand.New(rand.NewPCG(seed, 0))
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i := 0; i < len(all) && len(chosen) < n; i++ {
		m := all[i]
		if !slices.ContainsFunc(chosen, func(o mutant) bool { return m.overlaps(&o) }) {
			m.number = len(chosen) + 1
			chosen = append(chosen, m)
		}
	}
	return chosen
}

// excuses are the changes that no test needs to see, with the reasons.
func excuses() (map[string]string, error) {
	all := map[string]string{}
	for line := range strings.Lines(known) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " | ")
		if at < 0 {
			return nil, fmt.Errorf("known.txt: no reason in %q", line)
		}
		all[line[:at]] = line[at+3:]
	}
	return all, nil
}
