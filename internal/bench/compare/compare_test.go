//go:build unix

package compare

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"midge/internal/bench"
)

// planOf makes a plan of one scenario against brokers that behave as told.
func planOf(t *testing.T, behaviours ...string) *Plan {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	p := &Plan{
		Name: "plan.toml", Title: "test", Rounds: 1, Ready: 20 * time.Second, Stop: 20 * time.Second,
		Scenarios: []Scenario{{Name: "s", Scenario: bench.Scenario{Name: "s", Publishers: 1}}},
	}
	for _, how := range behaviours {
		p.Brokers = append(p.Brokers, Broker{
			Name: how, Command: []string{os.Args[0], "{port}"}, Env: []string{behaviour + "=" + how},
			Target: bench.Target{Address: "127.0.0.1:{port}"},
		})
	}
	p.Base = p.Brokers[0].Name
	return p
}

// tidy proves that nothing is left of a comparison.
func tidy(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestDo(t *testing.T) {
	p := planOf(t, "good", "forbidding")
	p.Rounds = 2
	p.Scenarios = append(p.Scenarios, Scenario{Name: "z", Scenario: bench.Scenario{Name: "z", Rate: 1, Publishers: 1}})
	b := &p.Brokers[0]
	b.Files = []File{{"conf/file", "listener {port} of {tmp}"}}
	b.Build = []string{"touch", "{tmp}/built"}
	b.Version = []string{"sh", "-c", "echo 1.2.3; echo more; exit 3"}
	b.Target.Username = "u"
	var order []string
	pids, addresses := map[int]bool{}, map[string]bool{}
	measure := func(_ context.Context, target bench.Target, s bench.Scenario) (*bench.Result, error) {
		order = append(order, s.Name+" "+target.Name)
		pids[target.PID] = true
		addresses[target.Address] = true
		if err := answers(t.Context(), target.Address); err != nil {
			t.Error(err)
		}
		if target.Name == "good" {
			_, port, _ := net.SplitHostPort(target.Address)
			files, _ := filepath.Glob(filepath.Join(os.TempDir(), "midge-compare-*", "*-good", "conf", "file"))
			if len(files) != 1 {
				t.Fatalf("files: %v", files)
			}
			text, _ := os.ReadFile(files[0])
			if want := "listener " + port + " of " + filepath.Dir(filepath.Dir(filepath.Dir(files[0]))); string(text) != want || target.Username != "u" {
				t.Errorf("file: %s, want %s; target %+v", text, want, target)
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(files[0]), "..", "..", "built")); err != nil {
				t.Error(err)
			}
		}
		return &bench.Result{Broker: target.Name}, nil
	}
	var log strings.Builder
	c, err := Do(t.Context(), p, Options{Measure: measure, Build: "midge test", Commit: "abc", Command: "midge bench", Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"s good", "s forbidding", "z good", "z forbidding", "s good", "s forbidding", "z good", "z forbidding"}; !slices.Equal(order, want) {
		t.Errorf("order %v", order)
	}
	if len(pids) != 8 || pids[0] || len(addresses) < 2 {
		t.Errorf("a new process for each run? %v, %v", pids, addresses)
	}
	if c.Failed() || c.Failures() != 0 || len(c.Runs) != 8 || c.Runs[7].Round != 2 || c.Runs[2].Scenario != "z" || c.Runs[3].Broker != "forbidding" {
		t.Errorf("runs: %+v", c.Runs)
	}
	if c.Brokers[0].Version != "1.2.3" || c.Scenarios[0].Headline != "rate" || c.Scenarios[1].Headline != "p99" || c.Commit != "abc" || c.Ended.Before(c.Started) {
		t.Errorf("%+v", c)
	}
	for _, want := range []string{"good: building", "good: 1.2.3", "forbidding: starts", "  8/8  round 2  z  forbidding:"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %q:\n%s", want, log.String())
		}
	}
	tidy(t)
}

// TestMistakes proves that a broker that can't be started shows before the
// first round.
func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		name, how string
		change    func(*Broker)
		want      []string
	}{
		{"ends", "broken", nil, []string{"broker broken: the broker ended before it answered: exit status 3; it printed:", "a broker that is broken", "no such option"}},
		{"prints a lot", "talkative", nil, []string{"printed:\n… ", "line 999"}},
		{"never answers", "silent", nil, []string{"no answer to CONNECT on 127.0.0.1:", "within 50ms"}},
		{"no such program", "good", func(b *Broker) { b.Command = []string{"no-such-broker"} }, []string{"there is no program no-such-broker: "}},
		{"how to install it", "good", func(b *Broker) { b.Command, b.Install = []string{"no-such-broker"}, "apt-get install it" }, []string{"no-such-broker; to install it: apt-get install it"}},
		{"no such file", "good", func(b *Broker) { b.Command = []string{"./no-such-broker"} }, []string{"there is no program ./no-such-broker"}},
		{"build fails", "good", func(b *Broker) { b.Build = []string{"sh", "-c", "echo missing semicolon; exit 2"} }, []string{"broker good: build: run sh -c", "exit status 2", "missing semicolon"}},
		{"no version", "good", func(b *Broker) { b.Version = []string{"true"} }, []string{"ask for the version: it printed nothing: exit status 0"}},
		{"version hangs up", "good", func(b *Broker) { b.Version = []string{"false"} }, []string{"ask for the version", "exit status 1"}},
		{"file can't be written", "good", func(b *Broker) { b.Files = []File{{"a", ""}, {"a/b", ""}} }, []string{"write a file of the broker: "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planOf(t, tt.how)
			if tt.how == "silent" {
				p.Ready = 50 * time.Millisecond
			}
			if tt.change != nil {
				tt.change(&p.Brokers[0])
			}
			_, err := Do(t.Context(), p, Options{Measure: func(context.Context, bench.Target, bench.Scenario) (*bench.Result, error) {
				t.Error("measured")
				return nil, nil
			}})
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			if err != nil && len(err.Error()) > outputShown+1000 {
				t.Errorf("%d bytes of error", len(err.Error()))
			}
			tidy(t)
		})
	}
}

// TestDeath proves that a broker that ends in the middle of a run fails that
// run, ends the measuring, and doesn't keep the others from theirs.
func TestDeath(t *testing.T) {
	p := planOf(t, "mortal", "good")
	measure := func(ctx context.Context, target bench.Target, _ bench.Scenario) (*bench.Result, error) {
		if target.Name == "good" {
			return &bench.Result{}, nil
		}
		if err := answers(ctx, target.Address); err == nil {
			t.Error("it didn't die")
		}
		<-ctx.Done()
		return &bench.Result{Interrupted: 1}, nil
	}
	var log strings.Builder
	c, err := Do(t.Context(), p, Options{Measure: measure, Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	r := c.Runs[0]
	if r.Error != "the broker ended in the middle of the run: exit status 7" || !strings.HasSuffix(r.Output, "assertion failed") || r.Result != nil {
		t.Errorf("%+v", r)
	}
	if !c.Failed() || c.Failures() != 1 || len(c.Runs) != 2 || c.Runs[1].Failed() || c.Incomplete != "" {
		t.Errorf("%+v", c)
	}
	if !strings.Contains(log.String(), "FAULT in round 1, s, mortal: the broker ended in the middle") {
		t.Error(log.String())
	}
	tidy(t)
}

// TestRestart proves that a broker that is ended on purpose in the middle of a
// run and started again is another process at the same place, that nobody takes
// it for one that has died, and that a death after it is noticed.
func TestRestart(t *testing.T) {
	for _, kill := range []bool{false, true} {
		for _, dies := range []bool{false, true} {
			p := planOf(t, "good")
			p.Brokers[0].Files = []File{{"kept", "text"}}
			c, err := Do(t.Context(), p, Options{Measure: func(ctx context.Context, target bench.Target, _ bench.Scenario) (*bench.Result, error) {
				r, err := target.Restart(ctx, kill)
				if err != nil || r.PID == target.PID || r.PID == 0 || r.Start <= 0 || r.Stop <= 0 {
					t.Errorf("%+v, %v; it was process %d", r, err, target.PID)
				}
				if err := answers(ctx, target.Address); err != nil {
					t.Error(err)
				}
				if p, err := os.FindProcess(r.PID); err == nil && dies {
					p.Kill() //nolint:errcheck // the context tells
					<-ctx.Done()
				}
				return &bench.Result{}, ctx.Err()
			}})
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if dies {
				want = "the broker ended in the middle of the run: signal: killed"
			}
			if c.Runs[0].Error != want {
				t.Errorf("kill %v, dies %v: %q", kill, dies, c.Runs[0].Error)
			}
			tidy(t)
		}
	}
}

// TestSomeBrokers proves that a scenario takes only the brokers that it names,
// and that the report and the choice of brokers get on with it.
func TestSomeBrokers(t *testing.T) {
	const text = `
[[broker]]
name = "a"
command = ["a"]
[[broker]]
name = "b"
command = ["b"]
[[scenario]]
scenario = "throughput-1"
[[scenario]]
scenario = "throughput-2"
brokers = ["b"]
`
	p, err := Parse("p.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p.Rounds = 1
	var order []string
	c := &Comparison{Base: "a", Rounds: 1, Brokers: []Contender{{Name: "a"}, {Name: "b"}}}
	for _, s := range p.Scenarios {
		c.Scenarios = append(c.Scenarios, Load{Name: s.Name, Headline: "rate", Scenario: s.Scenario})
	}
	for _, turn := range p.order() {
		order = append(order, turn.scenario.Name+" "+turn.broker.Name)
		c.Runs = append(c.Runs, Run{Round: 1, Scenario: turn.scenario.Name, Broker: turn.broker.Name, Sync: 0.002, Result: &bench.Result{
			Received: bench.Count{Messages: 1, PerSecond: 1000}, BrokerUse: &bench.Usage{WrittenBytes: 5},
		}})
	}
	if want := []string{"throughput-1 a", "throughput-1 b", "throughput-2 b"}; !slices.Equal(order, want) {
		t.Errorf("order %v", order)
	}
	var b strings.Builder
	if err := c.WriteMarkdown(&b, "", ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| received | 1,000 msg/s | 1,000 msg/s ≈ ×1.00 |", "| received | – | 1,000 msg/s |", "- Disk: an fsync after 4 KiB appended took 2 ms"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if err := c.WriteHTML(&b); err != nil {
		t.Error(err)
	}
	if err := c.WriteSVG(&b); err != nil {
		t.Error(err)
	}
	if err := p.Choose([]string{"a"}, nil); err != nil || len(p.Scenarios) != 1 {
		t.Errorf("%d scenarios are left to a, %v", len(p.Scenarios), err)
	}
	if err := p.Choose(nil, []string{"throughput-2"}); err == nil {
		t.Error("nothing is left, and that is no error")
	}
	if _, err := Parse("p.toml", []byte(strings.Replace(text, `brokers = ["b"]`, `brokers = ["c"]`, 1))); err == nil || err.Error() != "p.toml:12: brokers: there is no broker c" {
		t.Error(err)
	}
}

// TestFaults proves that what the bench reports fails the comparison.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		result *bench.Result
		err    error
		want   string
	}{
		{"a loss", &bench.Result{Faults: []string{"3 messages lost"}}, nil, "3 messages lost"},
		{"an error", nil, errors.New("connection refused"), "connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			c, err := Do(t.Context(), planOf(t, "good"), Options{Log: &log, Measure: func(context.Context, bench.Target, bench.Scenario) (*bench.Result, error) {
				return tt.result, tt.err
			}})
			if err != nil {
				t.Fatal(err)
			}
			if !c.Failed() || !slices.Equal(c.Runs[0].faults(), []string{tt.want}) || !strings.Contains(log.String(), "FAULT in round 1, s, good: "+tt.want) {
				t.Errorf("%+v\n%s", c.Runs[0], log.String())
			}
		})
	}
}

// TestInterrupted proves that a comparison that is interrupted keeps the runs
// that it has finished, says so, and stops the broker.
func TestInterrupted(t *testing.T) {
	part := &bench.Result{Interrupted: 1}
	for _, tt := range []struct {
		name  string
		at    int           // run that is interrupted
		last  *bench.Result // of this run
		want  string
		runs  int
		empty bool
	}{
		{"in the middle of a run", 3, nil, "interrupted after 2 of 4 runs", 2, false},
		{"part of a run", 3, part, "interrupted after 2 of 4 runs", 2, false},
		{"at the end of a run", 3, &bench.Result{}, "interrupted after 3 of 4 runs", 3, false},
		{"at the end of all", 4, &bench.Result{}, "", 4, false},
		{"in the first run", 1, part, "", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planOf(t, "good")
			p.Rounds = 4
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			runs := 0
			c, err := Do(ctx, p, Options{Measure: func(ctx context.Context, _ bench.Target, _ bench.Scenario) (*bench.Result, error) {
				if runs++; runs < tt.at {
					return &bench.Result{}, nil
				}
				cancel()
				<-ctx.Done()
				if tt.last == nil {
					return nil, ctx.Err()
				}
				return tt.last, nil
			}})
			tidy(t)
			if tt.empty {
				if c != nil || err == nil || err.Error() != "interrupted before the first run was finished: there is nothing to report" {
					t.Errorf("%+v, %v", c, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Incomplete != tt.want || len(c.Runs) != tt.runs || c.Failed() != (tt.want != "") || c.Failures() != 0 || runs != tt.at {
				t.Errorf("%d runs: %+v", runs, c)
			}
		})
	}
}

// TestInterruptedBefore proves that a comparison which is interrupted while it
// builds and tries its brokers says no more than that.
func TestInterruptedBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Do(ctx, planOf(t, "good"), Options{})
	if err == nil || err.Error() != "interrupted before the first run was finished: there is nothing to report" {
		t.Error(err)
	}
	tidy(t)
}

// TestPID proves that the process to measure can be another than the one that
// was started.
func TestPID(t *testing.T) {
	for _, tt := range []struct {
		name string
		pid  []string
		want int
		err  string
	}{
		{"of the command", nil, 0, ""},
		{"of another", []string{"echo", "4711"}, 4711, ""},
		{"nonsense", []string{"echo", "none"}, 0, `ask for the process id: "none" is none`},
		{"no answer", []string{"false"}, 0, "ask for the process id: run false: exit status 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planOf(t, "good")
			p.Brokers[0].PID = tt.pid
			got := 0
			c, err := Do(t.Context(), p, Options{Measure: func(_ context.Context, target bench.Target, _ bench.Scenario) (*bench.Result, error) {
				got = target.PID
				return &bench.Result{}, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			if tt.want != 0 && got != tt.want || !strings.Contains(c.Runs[0].Error, tt.err) || tt.err == "" && got == 0 {
				t.Errorf("process %d, error %q", got, c.Runs[0].Error)
			}
		})
	}
}

func TestFill(t *testing.T) {
	d := &doing{plan: &Plan{Name: "/plans/p.toml"}, options: Options{Midge: "/bin/midge"}, temporary: "/tmp/t"}
	h, err := d.holders("/tmp/t/1")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fill("{dir} {tmp} {plan} {midge} {{.Version}} {no}", h), "/tmp/t/1 /tmp/t /plans /bin/midge {{.Version}} {no}"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for name := range Placeholders() {
		if h["{"+name+"}"] == "" {
			t.Errorf("{%s} has no value", name)
		}
	}
	ports := map[string]bool{}
	for _, p := range []string{"{port}", "{port2}", "{port3}", "{port9}"} {
		ports[cmp.Or(fill(p, h), "none")] = true
	}
	if len(ports) != 4 || ports["none"] {
		t.Errorf("ports %v", ports)
	}
}

// TestAnswersOtherwise proves that whoever speaks something else isn't ready.
func TestAnswersOtherwise(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			answer(c, "babbling")
		}
	}()
	if err := answers(t.Context(), l.Addr().String()); err == nil || err.Error() != "wait for CONNACK: the answer begins with 0x48" {
		t.Error(err)
	}
}

// TestAnswersWebSocket proves that an accepted connection will do there.
func TestAnswersWebSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, c)
		}
	}()
	if err := answers(t.Context(), "ws://"+l.Addr().String()+"/mqtt"); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := answers(t.Context(), "ws://"+l.Addr().String()+"/mqtt"); err == nil {
		t.Error("nobody listens, and it answers")
	}
}
