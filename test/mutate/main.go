// Command mutate changes one small thing at a time in the packages that decide
// what happens to messages, and runs their tests: a change that no test sees is
// a test that is missing. It picks places by a seed, builds all changes into one
// set of test binaries, and switches one on for each run, so that nothing is
// compiled twice.
//
// It prints those that no test has seen. Those in known.txt, with their reasons,
// don't count; any other makes the exit status 1.
package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tested maps each package that is changed to those whose tests are to see it,
// the fastest first.
var tested = map[string][]string{
	"internal/topic":   {"internal/topic", "internal/broker"},
	"internal/session": {"internal/session", "internal/broker"},
	"internal/store":   {"internal/store", "internal/broker"},
	"internal/broker":  {"internal/broker"},
}

//go:embed known.txt
var known string

func main() {
	n := flag.Int("n", 200, "how many changes to try")
	seed := flag.Uint64("seed", 1, "which ones")
	only := flag.String("only", "", "leave out all whose place or text does not contain this")
	jobs := flag.Int("jobs", 2, "how many runs at one time")
	flag.Parse()
	survived, err := mutate(*n, *seed, *only, *jobs)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	case survived > 0:
		os.Exit(1)
	}
}

func mutate(n int, seed uint64, only string, jobs int) (survived int, err error) {
	dir, err := os.MkdirTemp("", "midge-mutate-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	all, err := find(only)
	if err != nil {
		return 0, err
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var chosen []mutant
	for i := 0; i < len(all) && len(chosen) < n; i++ {
		m := all[i]
		if !slices.ContainsFunc(chosen, func(o mutant) bool { return m.overlaps(&o) }) {
			m.number = len(chosen) + 1
			chosen = append(chosen, m)
		}
	}
	fmt.Printf("%d places, %d chosen by seed %d\n", len(all), len(chosen), seed)
	overlay, err := write(dir, chosen)
	if err != nil {
		return 0, err
	}
	limits, err := build(dir, overlay)
	if err != nil {
		return 0, err
	}
	excused := excuses()
	var mu sync.Mutex
	var wg sync.WaitGroup
	turns := make(chan struct{}, jobs)
	seen := 0
	for i := range chosen {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			m := &chosen[i]
			by := run(dir, m, limits)
			mu.Lock()
			defer mu.Unlock()
			switch reason, ok := excused[m.name()]; {
			case by != "":
				seen++
			case ok:
				fmt.Printf("known    %s: %s\n", m.name(), reason)
			default:
				survived++
				fmt.Printf("SURVIVED %s:%d: %s\n", m.file, m.line, m.name())
			}
		})
	}
	wg.Wait()
	fmt.Printf("%d of %d were seen, %d survived, %d are known\n", seen, len(chosen), survived, len(chosen)-seen-survived)
	return survived, nil
}

// excuses are the changes that no test needs to see, with the reasons.
func excuses() map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(known) {
		if name, reason, ok := strings.Cut(strings.TrimSpace(line), " | "); ok && !strings.HasPrefix(line, "#") {
			all[name] = reason
		}
	}
	return all
}

// write writes the changed files and the overlay that puts them in place of the
// others.
func write(dir string, chosen []mutant) (overlay string, err error) {
	byFile := map[string][]mutant{}
	for _, m := range chosen {
		byFile[m.file] = append(byFile[m.file], m)
	}
	replace := map[string]string{}
	put := func(file string, text []byte) error {
		at, err := filepath.Abs(file)
		if err != nil {
			return err
		}
		replace[at] = filepath.Join(dir, strconv.Itoa(len(replace))+".go")
		return os.WriteFile(replace[at], text, 0o600)
	}
	for file, here := range byFile {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if err := put(file, changed(text, here)); err != nil {
			return "", err
		}
	}
	for pkg := range tested {
		if err := put(filepath.Join(pkg, "mutant.go"), fmt.Appendf(nil, switches, filepath.Base(pkg))); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// switches is what changed files call.
const switches = `package %s

import (
	"os"
	"strconv"
)

var mutantOn = func() int { n, _ := strconv.Atoi(os.Getenv("MIDGE_MUTANT")); return n }()

func mutantFlip(n int, v bool) bool { return v != (mutantOn == n) }
func mutantIf(n int, v, other bool) bool { if mutantOn == n { return other }; return v }
func mutantKeep(n int) bool { return mutantOn != n }
`

// build makes the test binaries, and finds out how long each takes. A run that
// takes twenty times as long, and a minute, hangs.
func build(dir, overlay string) (limits map[string]time.Duration, err error) {
	limits = map[string]time.Duration{}
	for _, list := range tested {
		for _, pkg := range list {
			if limits[pkg] > 0 {
				continue
			}
			cmd := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", binary(dir, pkg), "./"+pkg)
			if out, err := cmd.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("build the tests of %s: %w\n%s", pkg, err, out)
			}
			begun := time.Now()
			if once(dir, pkg, 0, time.Hour) {
				return nil, fmt.Errorf("the tests of %s fail without a change", pkg)
			}
			limits[pkg] = 20*time.Since(begun) + time.Minute
		}
	}
	return limits, nil
}

func binary(dir, pkg string) string { return filepath.Join(dir, filepath.Base(pkg)+".test") }

// run runs the tests that are to see a change, and returns the package whose
// tests did, "" if none.
func run(dir string, m *mutant, limits map[string]time.Duration) (by string) {
	for _, pkg := range tested[filepath.Dir(m.file)] {
		if once(dir, pkg, m.number, limits[pkg]) {
			return pkg
		}
	}
	return ""
}

// once runs the tests of a package and tells whether they failed. A run that
// hangs has failed.
func once(dir, pkg string, number int, limit time.Duration) (failed bool) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(dir, pkg), "-test.failfast", "-test.timeout=0")
	cmd.Dir = pkg
	cmd.Env = append(os.Environ(), "MIDGE_MUTANT="+strconv.Itoa(number), "MIDGE_CUTS=300")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "mutate: run %s: %v\n", pkg, err)
		os.Exit(1)
	}
	// The first failure is enough: some tests go on for long.
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "--- FAIL") {
			cmd.Process.Kill() //nolint:errcheck // it may have ended meanwhile
		}
	}
	err = cmd.Wait()
	exit := (*exec.ExitError)(nil)
	return errors.As(err, &exit)
}
