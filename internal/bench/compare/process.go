package compare

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"midge/internal/bench"
	"midge/internal/program"
)

// buildLimit bounds building a broker, and askLimit asking for its version or
// process id.
const (
	buildLimit = 10 * time.Minute
	askLimit   = 20 * time.Second
)

// outputShown is how much of a broker's output a report shows, in bytes from
// the end.
const outputShown = 4000

// server is a broker of one run. It is owned by the goroutine that started it.
type server struct {
	broker  *Broker
	address string
	dir     string // temporary, of this run
	holders map[string]string
	log     *os.File
	program *program.Program

	// Of during.
	gone      context.CancelFunc
	unwatched chan struct{}
	watcher   sync.WaitGroup
}

// start starts a broker in a directory of its own and waits until it answers.
func (d *doing) start(ctx context.Context, b *Broker) (*server, error) {
	d.started++
	dir := filepath.Join(d.temporary, fmt.Sprintf("%d-%s", d.started, fileName(b.Name)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a directory for the run: %w", err)
	}
	holders, err := d.holders(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range b.Files {
		if err := writeFile(filepath.Join(dir, f.Name), fill(f.Text, holders)); err != nil {
			return nil, err
		}
	}
	s := &server{broker: b, address: fill(b.Target.Address, holders), dir: dir, holders: holders}
	if s.log, err = os.Create(filepath.Join(dir, "output.log")); err != nil {
		return nil, fmt.Errorf("keep the output of the broker: %w", err)
	}
	if err := s.launch(); err != nil {
		return nil, errors.Join(err, s.log.Close())
	}
	if err := s.ready(ctx, d.plan.Ready); err != nil {
		output := s.output()
		return nil, errors.Join(withOutput(err, output), s.stop(d.plan.Stop), s.remove())
	}
	return s, nil
}

// launch starts the process.
func (s *server) launch() error {
	cmd, err := command(s.broker, fillAll(s.broker.Command, s.holders))
	if err != nil {
		return err
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, s.log, s.log
	if s.program, err = program.StartGroup(cmd); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return nil
}

// ready waits until the broker answers a CONNECT.
func (s *server) ready(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer to CONNECT on %s within %v", s.address, limit))
	defer cancel()
	const pause = 5 * time.Millisecond
	var last error
	for {
		if last = answers(ctx, s.address); last == nil {
			return nil
		}
		select {
		case <-s.program.Done():
			return fmt.Errorf("the broker ended before it answered: %s", s.program.Exit())
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), last)
		case <-time.After(pause):
		}
	}
}

// during calls f, whose context ends when the broker does. A broker that ends
// meanwhile, unless restart has ended it, is an error, whatever f has made of it.
func (s *server) during(ctx context.Context, f func(context.Context) (*bench.Result, error)) (*bench.Result, error) {
	ctx, s.gone = context.WithCancel(ctx)
	defer s.gone()
	s.watch()
	result, err := f(ctx)
	if s.unwatch(); s.program.Ended() {
		if result != nil && result.Interrupted > 0 {
			result = nil // a part of a run is nothing to compare
		}
		return result, fmt.Errorf("the broker ended in the middle of the run: %s", s.program.Exit())
	}
	return result, err
}

// watch calls gone when the broker ends, until unwatch.
func (s *server) watch() {
	s.unwatched = make(chan struct{})
	s.watcher.Go(func() {
		select {
		case <-s.program.Done():
			s.gone()
		case <-s.unwatched:
		}
	})
}

func (s *server) unwatch() {
	close(s.unwatched)
	s.watcher.Wait()
}

// restart ends the broker, with SIGKILL or SIGTERM, and starts it again in the
// same directory and on the same ports. It is called by f of during.
func (s *server) restart(ctx context.Context, kill bool, p *Plan) (bench.Restarting, error) {
	s.unwatch()
	defer s.watch()
	if s.program.Ended() {
		return bench.Restarting{}, errors.New("it has ended already")
	}
	var r bench.Restarting
	begin := time.Now()
	if kill {
		s.program.Kill()
	} else if err := s.program.Stop(p.Stop); err != nil {
		return r, fmt.Errorf("stop it: %w", err)
	}
	r.Stop = time.Since(begin)
	begin = time.Now()
	if err := s.launch(); err != nil {
		return r, err
	}
	if err := s.ready(ctx, p.Ready); err != nil {
		return r, err
	}
	r.Start = time.Since(begin)
	return r, nil
}

// stop ends the broker and all processes of its group: SIGTERM, and SIGKILL
// after limit. Having to kill it is an error.
func (s *server) stop(limit time.Duration) error {
	err := s.program.Stop(limit)
	if err != nil {
		err = fmt.Errorf("stop the broker: %w", err)
	}
	return errors.Join(err, s.log.Close())
}

// remove removes the directory of the run, the output included.
func (s *server) remove() error {
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove what the broker has written: %w", err)
	}
	return nil
}

// output returns the end of what the broker has printed.
func (s *server) output() string {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	return tail(text)
}

func tail(text []byte) string {
	if cut := len(text) - outputShown; cut > 0 {
		text = append([]byte("… "), text[cut:]...)
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(text), "�"))
}

func withOutput(err error, output string) error {
	if output == "" {
		return fmt.Errorf("%w; it printed nothing", err)
	}
	return fmt.Errorf("%w; it printed:\n%s", err, output)
}

// pid is the process to measure.
func (d *doing) pid(ctx context.Context, b *Broker, s *server) (int, error) {
	if len(b.PID) == 0 {
		return s.program.PID(), nil
	}
	text, err := output(ctx, b, fillAll(b.PID, s.holders), askLimit)
	if err != nil {
		return 0, fmt.Errorf("ask for the process id: %w", err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("ask for the process id: %q is none", first)
	}
	return pid, nil
}

// build runs the command that builds a broker.
func (d *doing) build(ctx context.Context, b *Broker) error {
	holders, err := d.holders("")
	if err != nil {
		return err
	}
	_, err = output(ctx, b, fillAll(b.Build, holders), buildLimit)
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return nil
}

// version is the first line that the version command prints, whatever its
// exit status: that of mosquitto -h is 3.
func (d *doing) version(ctx context.Context, b *Broker) (string, error) {
	if len(b.Version) == 0 {
		return "", nil
	}
	holders, err := d.holders("")
	if err != nil {
		return "", err
	}
	text, err := output(ctx, b, fillAll(b.Version, holders), askLimit)
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if first == "" {
		return "", fmt.Errorf("ask for the version: it printed nothing: %w", cmp.Or(err, errors.New("exit status 0")))
	}
	return first, nil
}

// output runs a command of a broker and returns what it prints.
func output(ctx context.Context, b *Broker, words []string, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()
	cmd, err := command(b, words)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	p, err := program.StartGroup(cmd)
	if err != nil {
		return "", fmt.Errorf("run %s: %w", words[0], err)
	}
	stop := context.AfterFunc(ctx, p.Kill)
	defer stop()
	<-p.Done()
	if err := p.Err(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return text.String(), withOutput(fmt.Errorf("run %s: %w", strings.Join(words, " "), err), tail(text.Bytes()))
	}
	return text.String(), nil
}

// command prepares a command, whose program may be a path from the working
// directory, or a name in PATH or in the directories for daemons, which
// Debian's PATH for users leaves out.
func command(b *Broker, words []string) (*exec.Cmd, error) {
	program, err := exec.LookPath(words[0])
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if err != nil && !strings.ContainsAny(words[0], `/\`) {
			program, err = exec.LookPath(filepath.Join(dir, words[0]))
		}
	}
	if err != nil {
		if b.Install != "" {
			return nil, fmt.Errorf("there is no program %s; to install it: %s", words[0], b.Install)
		}
		return nil, fmt.Errorf("there is no program %s: %w", words[0], err)
	}
	if program, err = filepath.Abs(program); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, words[1:]...)
	cmd.Env = append(os.Environ(), b.Env...)
	return cmd, nil
}

// holders are the values of the placeholders for a run in dir.
func (d *doing) holders(dir string) (map[string]string, error) {
	plan, err := filepath.Abs(filepath.Dir(d.plan.Name))
	if err != nil {
		return nil, err
	}
	h := map[string]string{"{dir}": dir, "{tmp}": d.temporary, "{plan}": plan, "{midge}": d.options.Midge}
	ports, err := program.Ports(9)
	if err != nil {
		return nil, err
	}
	h["{port}"] = ports[0]
	for i, p := range ports[1:] {
		h[fmt.Sprintf("{port%d}", i+2)] = p
	}
	return h, nil
}

func fill(text string, holders map[string]string) string {
	return placeholder().ReplaceAllStringFunc(text, func(name string) string {
		if v, ok := holders[name]; ok {
			return v
		}
		return name
	})
}

func fillAll(words []string, holders map[string]string) []string {
	filled := make([]string, len(words))
	for i, w := range words {
		filled[i] = fill(w, holders)
	}
	return filled
}

func writeFile(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("write a file of the broker: %w", err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write a file of the broker: %w", err)
	}
	return nil
}

// fileName makes a name of a file from any text.
func fileName(text string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' {
			return c
		}
		return '_'
	}, text)
}
