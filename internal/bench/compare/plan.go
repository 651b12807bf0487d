package compare

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"midge/internal/bench"
	"midge/internal/packet"
)

// Plan says which brokers are compared, under which scenarios, and how often.
type Plan struct {
	Name      string // of the file
	Text      string // of the file
	Title     string
	About     string
	Rounds    int
	Base      string        // broker that ratios refer to
	Ready     time.Duration // within which a broker must answer CONNECT
	Stop      time.Duration // from SIGTERM to SIGKILL
	Brokers   []Broker
	Scenarios []Scenario
}

// Broker says how a broker is built, started and reached. Texts may have
// placeholders: see Placeholders.
type Broker struct {
	Name    string
	Command []string     // that runs the broker in the foreground
	Build   []string     // that is run once, before the first start; empty for none
	Version []string     // whose first line of output tells the version; empty for none
	PID     []string     // that prints the process to measure; empty for that of Command
	Env     []string     // KEY=value, in addition to this process's
	Files   []File       // written before each start
	Install string       // what to do when the program isn't there
	Target  bench.Target // the address, with placeholders, and how clients log in
}

// File is a file that a broker needs: its configuration.
type File struct {
	Name string `json:"name"` // in {dir}
	Text string `json:"text"`
}

// Scenario is a load of a plan.
type Scenario struct {
	Name     string
	About    string
	Headline string   // key of the figure that matters most; empty for what the scenario suggests
	Brokers  []string // that take part; empty for all
	Scenario bench.Scenario
}

// has reports whether a broker takes part.
func (s *Scenario) has(broker string) bool {
	return len(s.Brokers) == 0 || slices.Contains(s.Brokers, broker)
}

// Placeholders explains what the texts of a broker may contain.
func Placeholders() map[string]string {
	return map[string]string{
		"port":  "a free port of 127.0.0.1; {port2} to {port9} are others",
		"dir":   "a directory of this run, empty at its start and removed at its end",
		"tmp":   "a directory of this comparison, for what build makes",
		"plan":  "the directory of the plan",
		"midge": "this program",
	}
}

var placeholder = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{([a-z]+)([2-9]?)\}`) })

// Limits of a plan.
const (
	MaxRounds  = 1000
	MaxBrokers = 8 // that colours tell apart
)

// Defaults of a plan.
const (
	defaultRounds = 3
	defaultReady  = 20 * time.Second
	defaultStop   = 10 * time.Second
)

// ReadFile reads the plan in the file name.
func ReadFile(name string) (*Plan, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	return Parse(name, text)
}

// Parse reads a plan. All its faults are joined, each with file and line.
func Parse(name string, text []byte) (*Plan, error) {
	r := &planReader{brokersLine: map[string]int{}, plan: &Plan{Name: name, Text: string(text), Rounds: defaultRounds, Ready: defaultReady, Stop: defaultStop}}
	doc, err := readTables(text)
	if err != nil {
		r.errs = append(r.errs, locate(name, err))
	}
	for _, t := range doc {
		r.table(t)
	}
	if err == nil {
		r.check()
	}
	if err := errors.Join(r.errs...); err != nil {
		return nil, err
	}
	return r.plan, nil
}

// planReader gathers a plan and its faults.
type planReader struct {
	plan     *Plan
	baseLine int
	// brokersLine is where a scenario says which brokers take part.
	brokersLine map[string]int
	errs        []error
}

func (r *planReader) fault(line int, format string, args ...any) {
	r.errs = append(r.errs, locate(r.plan.Name, &lineError{line, fmt.Sprintf(format, args...)}))
}

func (r *planReader) table(t table) {
	switch {
	case t.name == "" && !t.array:
		r.top(t)
	case t.name == "broker" && t.array:
		r.broker(t)
	case t.name == "broker.files" && !t.array && len(r.plan.Brokers) > 0:
		b := &r.plan.Brokers[len(r.plan.Brokers)-1]
		for _, e := range t.entries {
			r.file(b, e)
		}
	case t.name == "scenario" && t.array:
		r.scenario(t)
	default:
		r.fault(t.line, "unknown section %s; a plan has [[broker]], [broker.files] below it, and [[scenario]]", t.header())
	}
}

func (r *planReader) top(t table) {
	for _, e := range t.entries {
		p := r.plan
		switch e.key {
		case "title":
			r.text(e, &p.Title)
		case "about":
			r.text(e, &p.About)
		case "base":
			r.text(e, &p.Base)
			r.baseLine = e.line
		case "rounds":
			n, err := strconv.Atoi(e.text)
			if err != nil || n < 1 || n > MaxRounds {
				r.fault(e.line, "rounds: %s is no number from 1 to %d", e.text, MaxRounds)
			}
			p.Rounds = n
		case "ready":
			r.duration(e, &p.Ready)
		case "stop":
			r.duration(e, &p.Stop)
		default:
			r.fault(e.line, "unknown key %s; a plan has title, about, base, rounds, ready and stop", e.key)
		}
	}
}

func (r *planReader) broker(t table) {
	b := Broker{Target: bench.Target{Address: "127.0.0.1:{port}"}}
	line := map[string]int{}
	for _, e := range t.entries {
		line[e.key] = e.line
		switch e.key {
		case "name":
			r.text(e, &b.Name)
		case "install":
			r.text(e, &b.Install)
		case "address":
			r.text(e, &b.Target.Address)
			r.holders(e.line, e.key, e.text)
		case "command":
			r.words(e, &b.Command)
		case "build":
			r.words(e, &b.Build)
		case "version":
			r.words(e, &b.Version)
		case "pid":
			r.words(e, &b.PID)
		case "env":
			r.words(e, &b.Env)
		case "files":
			for _, f := range e.inner {
				r.file(&b, f)
			}
			if e.inner == nil {
				r.fault(e.line, "files: want a table of names and texts")
			}
		case "mqtt":
			r.version(e, &b.Target.Version)
		case "username":
			r.text(e, &b.Target.Username)
		case "password":
			r.text(e, &b.Target.Password)
		case "cafile":
			r.text(e, &b.Target.TLS.CAFile)
		case "insecure":
			r.yes(e, &b.Target.TLS.Insecure)
		default:
			r.fault(e.line, "unknown key %s; a broker has name, command, address, build, version, pid, env, files, install, mqtt, username, password, cafile and insecure", e.key)
		}
	}
	if b.Name == "" {
		r.fault(t.line, "broker without a name")
	}
	if len(b.Command) == 0 {
		r.fault(t.line, "broker %s without a command", b.Name)
	}
	if slices.ContainsFunc(r.plan.Brokers, func(other Broker) bool { return other.Name == b.Name }) {
		r.fault(cmp.Or(line["name"], t.line), "broker %s: there is one of that name before", b.Name)
	}
	r.plan.Brokers = append(r.plan.Brokers, b)
}

// file adds a file that a broker needs.
func (r *planReader) file(b *Broker, e entry) {
	if e.key == "" || !filepath.IsLocal(e.key) {
		r.fault(e.line, "file %q: want a name below {dir}", e.key)
		return
	}
	f := File{Name: e.key}
	r.text(e, &f.Text)
	r.holders(e.line, e.key, f.Text)
	b.Files = append(b.Files, f)
}

// scenario reads a scenario. Every setting is tried on its own first, because
// bench knows no lines.
func (r *planReader) scenario(t table) {
	s, settings, line := Scenario{}, map[string]any{}, map[string]int{}
	scratch, bad := bench.Default(), len(r.errs)
	for _, e := range t.entries {
		line[e.key] = e.line
		switch e.key {
		case "about":
			r.text(e, &s.About)
			continue
		case "brokers":
			r.words(e, &s.Brokers)
			continue
		case "headline":
			r.text(e, &s.Headline)
			if _, ok := figureOf(s.Headline); !ok {
				r.fault(e.line, "headline: %q is none of %s", s.Headline, strings.Join(figureKeys(), ", "))
			}
			continue
		case "scenario":
			if _, err := bench.Parse(e.text); err != nil {
				r.fault(e.line, "%v", err)
			}
		default:
			if err := scratch.Set(e.key, e.text); err != nil {
				r.fault(e.line, "%v", err)
			}
		}
		settings[e.key] = e.text
	}
	if len(r.errs) > bad {
		return
	}
	var err error
	if s.Scenario, err = bench.ParseTable(settings); err != nil {
		for fault := range strings.Lines(err.Error()) {
			key, _, _ := strings.Cut(fault, ":")
			r.fault(cmp.Or(line[key], t.line), "scenario: %s", strings.TrimSpace(fault))
		}
		return
	}
	if s.Name = s.Scenario.Name; s.Name == "" {
		r.fault(t.line, "scenario without a name")
	}
	if slices.ContainsFunc(r.plan.Scenarios, func(other Scenario) bool { return other.Name == s.Name }) {
		r.fault(cmp.Or(line["name"], t.line), "scenario %s: there is one of that name before; set name", s.Name)
	}
	r.brokersLine[s.Name] = line["brokers"]
	r.plan.Scenarios = append(r.plan.Scenarios, s)
}

// check looks at the plan as a whole.
func (r *planReader) check() {
	p := r.plan
	p.Title = cmp.Or(p.Title, strings.TrimSuffix(filepath.Base(p.Name), filepath.Ext(p.Name)))
	if len(p.Brokers) == 0 {
		r.fault(1, "no [[broker]]")
	}
	if len(p.Brokers) > MaxBrokers {
		r.fault(1, "%d brokers: a plan can have %d", len(p.Brokers), MaxBrokers)
	}
	if len(p.Scenarios) == 0 && len(r.errs) == 0 {
		r.fault(1, "no [[scenario]]")
	}
	if p.Base == "" && len(p.Brokers) > 0 {
		p.Base = p.Brokers[0].Name
	}
	for _, s := range p.Scenarios {
		for _, name := range s.Brokers {
			if !p.knows(name) {
				r.fault(r.brokersLine[s.Name], "brokers: there is no broker %s", name)
			}
		}
	}
	if p.Base != "" && !p.knows(p.Base) {
		r.fault(r.baseLine, "base: there is no broker %s", p.Base)
	}
}

func (r *planReader) text(e entry, to *string) {
	if e.kind != kindText {
		r.fault(e.line, "%s: want a text in quotes", e.key)
		return
	}
	*to = e.text
}

func (r *planReader) yes(e entry, to *bool) {
	var err error
	if *to, err = strconv.ParseBool(e.text); err != nil {
		r.fault(e.line, "%s: want true or false", e.key)
	}
}

func (r *planReader) duration(e entry, to *time.Duration) {
	d, err := time.ParseDuration(e.text)
	if err != nil || d <= 0 || d > time.Hour {
		r.fault(e.line, "%s: %q is no time up to 1h, such as \"10s\"", e.key, e.text)
		return
	}
	*to = d
}

func (r *planReader) words(e entry, to *[]string) {
	if e.kind != kindWords || len(e.words) == 0 {
		r.fault(e.line, "%s: want a list of words, such as [\"mosquitto\", \"-p\", \"{port}\"]", e.key)
		return
	}
	r.holders(e.line, e.key, e.words...)
	*to = e.words
}

func (r *planReader) version(e entry, to *packet.Version) {
	switch e.text {
	case "3.1.1":
		*to = packet.V311
	case "5", "5.0":
		*to = packet.V5
	default:
		r.fault(e.line, "mqtt: %q is none of \"3.1.1\", \"5.0\"", e.text)
	}
}

// holders checks placeholders.
func (r *planReader) holders(line int, key string, texts ...string) {
	known := Placeholders()
	for _, text := range texts {
		for _, m := range placeholder().FindAllStringSubmatch(text, -1) {
			if known[m[1]] == "" || m[2] != "" && m[1] != "port" {
				r.fault(line, "%s: unknown placeholder %s; there are {%s}", key, m[0], strings.Join(slices.Sorted(maps.Keys(known)), "}, {"))
			}
		}
	}
}

// knows reports whether there is a broker of that name.
func (p *Plan) knows(broker string) bool {
	return slices.ContainsFunc(p.Brokers, func(b Broker) bool { return b.Name == broker })
}

// Choose leaves only the brokers and scenarios named; none named means all. A
// scenario of which no broker is left goes too.
func (p *Plan) Choose(brokers, scenarios []string) error {
	for _, name := range brokers {
		if !p.knows(name) {
			return fmt.Errorf("plan %s: no broker %s", p.Name, name)
		}
	}
	for _, name := range scenarios {
		if !slices.ContainsFunc(p.Scenarios, func(s Scenario) bool { return s.Name == name }) {
			return fmt.Errorf("plan %s: no scenario %s", p.Name, name)
		}
	}
	if len(brokers) > 0 {
		p.Brokers = slices.DeleteFunc(p.Brokers, func(b Broker) bool { return !slices.Contains(brokers, b.Name) })
		if !slices.Contains(brokers, p.Base) {
			p.Base = p.Brokers[0].Name
		}
	}
	if len(scenarios) > 0 {
		p.Scenarios = slices.DeleteFunc(p.Scenarios, func(s Scenario) bool { return !slices.Contains(scenarios, s.Name) })
	}
	p.Scenarios = slices.DeleteFunc(p.Scenarios, func(s Scenario) bool {
		return !slices.ContainsFunc(p.Brokers, func(b Broker) bool { return s.has(b.Name) })
	})
	if len(p.Scenarios) == 0 {
		return fmt.Errorf("plan %s: no scenario is left for these brokers", p.Name)
	}
	return nil
}
