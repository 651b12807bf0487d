package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// bench runs tests, of which it knows which mutants they reach.
type bench struct {
	dir     string
	overlay string
	jobs    int               // runs at one time
	tests   map[string][]test // of each package, the fastest first
}

// test is one test function.
type test struct {
	name    string
	took    time.Duration
	reaches map[int]bool // by number of mutant
}

// run asks one package after the other about what is not seen yet. What is
// known takes longest, and is not asked about.
func (b *bench) run(chosen []mutant) error {
	for stage := 0; ; stage++ {
		rest := map[string][]*mutant{} // by the package whose tests come next
		for i := range chosen {
			m := &chosen[i]
			if list := tested[filepath.Dir(m.file)]; m.seen == "" && m.known == "" && stage < len(list) {
				rest[list[stage]] = append(rest[list[stage]], m)
			}
		}
		if len(rest) == 0 {
			return nil
		}
		for _, pkg := range slices.Sorted(maps.Keys(rest)) {
			if b.tests[pkg] == nil {
				if err := b.build(pkg); err != nil {
					return err
				}
			}
			b.each(len(rest[pkg]), func(i int) {
				m := rest[pkg][i]
				b.try(m, pkg)
				if m.seen != "" {
					fmt.Printf("seen     %s:%d: %s: by %s\n", m.file, m.line, m.name, m.seen)
				} else {
					fmt.Printf("not seen %s:%d: %s: in %s\n", m.file, m.line, m.name, pkg)
				}
			})
		}
	}
}

// each calls do for 0 to n-1, some at one time.
func (b *bench) each(n int, do func(i int)) {
	var wg sync.WaitGroup
	turns := make(chan struct{}, b.jobs)
	for i := range n {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			do(i)
		})
	}
	wg.Wait()
}

// write writes the changed files and the overlay that puts them in place of the
// others.
func (b *bench) write(chosen []mutant) error {
	byFile, packages := map[string][]mutant{}, map[string]bool{}
	for _, m := range chosen {
		byFile[m.file] = append(byFile[m.file], m)
		packages[filepath.Dir(m.file)] = true
	}
	replace := map[string]string{}
	put := func(file string, text []byte) error {
		at, err := filepath.Abs(file)
		if err != nil {
			return err
		}
		replace[at] = filepath.Join(b.dir, strconv.Itoa(len(replace))+".go")
		return os.WriteFile(replace[at], text, 0o600)
	}
	for file, here := range byFile {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := put(file, changed(text, here)); err != nil {
			return err
		}
	}
	for pkg := range packages {
		if err := put(filepath.Join(pkg, "mutant.go"), fmt.Appendf(nil, switches, filepath.Base(pkg), len(chosen)+1)); err != nil {
			return err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	b.overlay = filepath.Join(b.dir, "overlay.json")
	return os.WriteFile(b.overlay, text, 0o600)
}

// switches is what changed files call. A run that looks writes down which
// mutants it reaches.
const switches = `package %s

import (
	"os"
	"strconv"
	"sync/atomic"
)

var (
	mutantOn, _      = strconv.Atoi(os.Getenv("MIDGE_MUTANT"))
	mutantLook, _    = os.OpenFile(os.Getenv("MIDGE_MUTANTS_REACHED"), os.O_APPEND|os.O_WRONLY, 0)
	mutantReached [%d]atomic.Bool
)

func mutantIs(n int) bool {
	if mutantLook != nil && !mutantReached[n].Swap(true) {
		mutantLook.WriteString(strconv.Itoa(n) + "\n")
	}
	return n == mutantOn
}

func mutantFlip(n int, v bool) bool { return v != mutantIs(n) }

func mutantIf(n int, v, other bool) bool {
	if mutantIs(n) {
		return other
	}
	return v
}

func mutantKeep(n int) bool { return !mutantIs(n) }
`

func (b *bench) binary(pkg string) string {
	return filepath.Join(b.dir, strings.ReplaceAll(pkg, "/", "-")+".test")
}

// build makes the test binary of a package, and runs each test by itself to see
// what it reaches.
func (b *bench) build(pkg string) error {
	cmd := exec.Command("go", "test", "-c", "-overlay", b.overlay, "-o", b.binary(pkg), "./"+pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the tests of %s: %w\n%s", pkg, err, out)
	}
	cmd = exec.Command(b.binary(pkg), "-test.list", "^(Test|Fuzz|Example)")
	cmd.Dir = pkg
	names, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("list the tests of %s: %w", pkg, err)
	}
	var all []test
	for _, name := range strings.Fields(string(names)) {
		all = append(all, test{name: name, reaches: map[int]bool{}})
	}
	errs := make([]error, len(all))
	b.each(len(all), func(i int) { errs[i] = b.look(pkg, &all[i]) })
	slices.SortFunc(all, func(a, b test) int { return cmp.Compare(a.took, b.took) })
	b.tests[pkg] = all
	return errors.Join(errs...)
}

// look runs a test without a change.
func (b *bench) look(pkg string, t *test) error {
	reached := filepath.Join(b.dir, t.name+".reached")
	if err := os.WriteFile(reached, nil, 0o600); err != nil {
		return err
	}
	begun := time.Now()
	if b.once(pkg, []string{t.name}, "MIDGE_MUTANTS_REACHED="+reached, time.Hour) != "" {
		return fmt.Errorf("%s of %s fails without a change", t.name, pkg)
	}
	t.took = time.Since(begun)
	text, err := os.ReadFile(reached)
	for _, n := range strings.Fields(string(text)) {
		number, _ := strconv.Atoi(n) //nolint:errcheck // we have written it
		t.reaches[number] = true
	}
	return err
}

// quick is how long a test may take that is run together with others.
const quick = 200 * time.Millisecond

// try runs the tests that reach a mutant, the fastest first, until one has seen it.
func (b *bench) try(m *mutant, pkg string) {
	var together []string
	var took time.Duration
	var rest []test
	for _, t := range b.tests[pkg] {
		switch {
		case !t.reaches[m.number]:
		case t.took <= quick:
			together, took = append(together, t.name), took+t.took
		default:
			rest = append(rest, t)
		}
	}
	if len(together) > 0 {
		m.seen = b.once(pkg, together, m.on(), limit(took))
	}
	for i := 0; i < len(rest) && m.seen == ""; i++ {
		m.seen = b.once(pkg, []string{rest[i].name}, m.on(), limit(rest[i].took))
	}
}

// limit is when a run hangs that otherwise takes so long.
func limit(took time.Duration) time.Duration { return 20*took + 20*time.Second }

// once runs tests of a package until one fails, and returns that one, "" if none
// does. A run that hangs or eats memory has failed.
func (b *bench) once(pkg string, names []string, env string, limit time.Duration) (failed string) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	temp, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		stop(err)
	}
	defer os.RemoveAll(temp)
	cmd := exec.CommandContext(ctx, "sh", "-c", `ulimit -v 8000000; exec "$@"`, "sh",
		b.binary(pkg), "-test.short", "-test.failfast", "-test.timeout=0", "-test.run=^("+strings.Join(names, "|")+")$")
	cmd.Dir = pkg
	cmd.Env = append(os.Environ(), env, "MIDGE_CUTS=300", "MIDGE_ROUNDS=2", "TMPDIR="+temp)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stop(fmt.Errorf("run the tests of %s: %w", pkg, err))
	}
	// The first failure is enough: some tests go on for long.
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "--- FAIL: "); ok && failed == "" {
			failed, _, _ = strings.Cut(name, " ")
			cmd.Process.Kill() //nolint:errcheck // it may have ended meanwhile
		}
	}
	switch err = cmd.Wait(); {
	case failed != "" || err == nil:
	case ctx.Err() != nil:
		failed = "a run that hangs"
	case errors.As(err, new(*exec.ExitError)):
		failed = "a run that crashes"
	default:
		stop(fmt.Errorf("run the tests of %s: %w", pkg, err))
	}
	if failed != "" {
		failed += " in " + pkg
	}
	return failed
}
