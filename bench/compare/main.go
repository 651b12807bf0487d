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
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// startLimit bounds the time that a broker may take to listen, and stopLimit the time to end after SIGTERM.
const (
	startLimit = 5 * time.Second
	stopLimit  = 5 * time.Second
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
	packages := map[string][2]string{"load": {".", "./bench/load"}, "floor": {".", "./bench/floor"}}
	if slices.Contains(r.brokers, "mochi") {
		packages["mochi"] = [2]string{"bench/mochi", "."}
	}
	if slices.Contains(r.brokers, "midge") && midge == "" {
		packages["midge"] = [2]string{".", "./cmd/midge"}
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	for name, p := range packages {
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(r.dir, name), p[1])
		build.Dir = filepath.Join(strings.TrimSpace(string(root)), p[0])
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, text)
		}
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
	unlock, err := takeLock(r.lock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	p, err := r.start(broker)
	if err != nil {
		return fmt.Errorf("start %s: %w", broker, err)
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	args := append([]string{"-addr", p.address, "-pid", fmt.Sprint(p.cmd.Process.Pid), "-time", r.measure.String()}, s.args...)
	figures, faults := r.load(args)
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

// load runs the generator and returns its figures and faults.
func (r *runner) load(args []string) (figures map[string]float64, faults []string) {
	cmd := exec.Command(filepath.Join(r.dir, "load"), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return nil, []string{err.Error()}
	}
	kill := time.AfterFunc(loadLimit, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil {
		faults = append(faults, strings.Split(strings.TrimSpace(stderr.String()+" ("+err.Error()+")"), "\n")...)
	}
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &figures); err != nil {
			faults = append(faults, fmt.Sprintf("read figures: %v", err))
		}
	}
	return figures, faults
}

// process is a running broker.
type process struct {
	cmd     *exec.Cmd
	address string
	log     bytes.Buffer
}

func (r *runner) start(broker string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	name, args, err := r.command(broker, address)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(name, args...), address: address}
	p.cmd.Dir = r.dir
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return p, c.Close()
		}
	}
	return nil, errors.Join(fmt.Errorf("not listening on %s after %v", address, startLimit), p.stop(), errors.New(p.log.String()))
}

// stop ends the process by its id, and waits for it.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	kill := time.AfterFunc(stopLimit, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// takeLock locks the file name exclusively, as flock(1) does. Without a name it does nothing.
func takeLock(name string) (unlock func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return f.Close, nil
}
