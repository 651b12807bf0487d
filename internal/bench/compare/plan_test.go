package compare

import (
	"slices"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
)

const wholePlan = `title = "Two brokers"
about = "All keys."
rounds = 5
base = "b"
ready = "3s"
stop = "4s"

[[broker]]
name = "a"
command = ["a", "-p", "{port}", "{port2}"]
build = ["make", "{tmp}/a"]
version = ["a", "--version"]
pid = ["cat", "{dir}/pid"]
env = ["MODE=fast"]
install = "apt-get install a"
address = "mqtts://127.0.0.1:{port2}"
mqtt = "5.0"
username = "u"
password = "p"
cafile = "ca.pem"
insecure = true
files = { "a.conf" = "listener {port}" }

[[broker]]
name = "b"
command = ["{midge}", "serve"]
[broker.files]
"conf/b.conf" = """
first
second
"""

[[scenario]]
about = "A name."
scenario = "p2p-10-10-10-1K"
headline = "cpu"

[[scenario]]
name = "own"
publishers = 1_0
subscribers = 2
qos = 0
window = 5
duration = "2s"
`

func TestParse(t *testing.T) {
	p, err := Parse("dir/plan.toml", []byte(wholePlan))
	if err != nil {
		t.Fatal(err)
	}
	if p.Title != "Two brokers" || p.About != "All keys." || p.Rounds != 5 || p.Base != "b" || p.Ready != 3*time.Second || p.Stop != 4*time.Second {
		t.Errorf("top: %+v", p)
	}
	a, b := p.Brokers[0], p.Brokers[1]
	for _, tt := range []struct{ name, got, want string }{
		{"command", strings.Join(a.Command, " "), "a -p {port} {port2}"},
		{"build", strings.Join(a.Build, " "), "make {tmp}/a"},
		{"version", strings.Join(a.Version, " "), "a --version"},
		{"pid", strings.Join(a.PID, " "), "cat {dir}/pid"},
		{"env", strings.Join(a.Env, " "), "MODE=fast"},
		{"install", a.Install, "apt-get install a"},
		{"address", a.Target.Address, "mqtts://127.0.0.1:{port2}"},
		{"username", a.Target.Username + a.Target.Password, "up"},
		{"cafile", a.Target.TLS.CAFile, "ca.pem"},
		{"inline file", a.Files[0].Name + ":" + a.Files[0].Text, "a.conf:listener {port}"},
		{"file", b.Files[0].Name + ":" + b.Files[0].Text, "conf/b.conf:first\nsecond\n"},
		{"default address", b.Target.Address, "127.0.0.1:{port}"},
		{"named scenario", p.Scenarios[0].Name + " " + p.Scenarios[0].About + " " + p.Scenarios[0].Headline, "p2p-10-10-10-1K A name. cpu"},
		{"own scenario", p.Scenarios[1].Name + " " + p.Scenarios[1].Scenario.Duration.String(), "own 2s"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, tt.got, tt.want)
		}
	}
	if a.Target.Version != packet.V5 || !a.Target.TLS.Insecure || b.Target.Version != 0 {
		t.Errorf("targets: %+v, %+v", a.Target, b.Target)
	}
	if s := p.Scenarios[1].Scenario; s.Publishers != 10 || s.Subscribers != 2 || s.QoS != 0 || s.Window != 5 {
		t.Errorf("own scenario: %+v", s)
	}
}

// TestParseDefaults proves what a plan need not say.
func TestParseDefaults(t *testing.T) {
	p, err := Parse("some/short.toml", []byte("[[broker]]\nname='x'\ncommand=['x']\n[[scenario]]\nscenario='conn-tcp-10-10'\n"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Title != "short" || p.Rounds != 3 || p.Base != "x" || p.Ready == 0 || p.Stop == 0 {
		t.Errorf("%+v", p)
	}
}

func TestParseFaults(t *testing.T) {
	const broker = "[[broker]]\nname = 'x'\ncommand = ['x']\n"
	const scenario = "[[scenario]]\nscenario = 'conn-tcp-10-10'\n"
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "plan.toml:1: no [[broker]]"},
		{"no scenario", broker, "plan.toml:1: no [[scenario]]"},
		{"syntax", "rounds = 1\ntitle = \"x\n", "plan.toml:2: "},
		{"set twice", "rounds = 1\nrounds = 2\n", "plan.toml:2: rounds: set twice"},
		{"unknown key", "round = 1\n", "plan.toml:1: unknown key round"},
		{"unknown section", "\n[brokers]\n", "plan.toml:2: unknown section [brokers]"},
		{"files without a broker", "[broker.files]\n", "plan.toml:1: unknown section [broker.files]"},
		{"rounds", "rounds = 0\n", "plan.toml:1: rounds: 0 is no number from 1 to 1000"},
		{"rounds in words", "rounds = 'many'\n", "plan.toml:1: rounds: many is no number"},
		{"title", "title = 3\n", "plan.toml:1: title: want a text in quotes"},
		{"ready", "ready = '5'\n", "plan.toml:1: ready: \"5\" is no time"},
		{"base", "base = 'y'\n" + broker + scenario, "plan.toml:1: base: there is no broker y"},
		{"broker's key", broker + "colour = 'red'\n", "plan.toml:4: unknown key colour; a broker has"},
		{"no name", "\n[[broker]]\ncommand = ['x']\n", "plan.toml:2: broker without a name"},
		{"no command", "\n[[broker]]\nname = 'x'\n", "plan.toml:2: broker x without a command"},
		{"command as text", "[[broker]]\nname = 'x'\ncommand = 'x -p'\n", "plan.toml:3: command: want a list of words"},
		{"command of numbers", "[[broker]]\nname = 'x'\ncommand = ['x', 1]\n", "plan.toml:3: command: want a list of words"},
		{"same name", broker + broker, "plan.toml:5: broker x: there is one of that name before"},
		{"placeholder", broker + "version = ['x', '{prot}']\n", "plan.toml:4: version: unknown placeholder {prot}; there are {dir}, {midge}, {plan}, {port}, {tmp}"},
		{"numbered placeholder", broker + "version = ['{dir2}']\n", "plan.toml:4: version: unknown placeholder {dir2}"},
		{"placeholder in a file", broker + "[broker.files]\n'a' = 'x'\n'b' = '{nix}'\n", "plan.toml:6: b: unknown placeholder {nix}"},
		{"file elsewhere", broker + "files = { '../x' = '' }\n", `plan.toml:4: file "../x": want a name below {dir}`},
		{"files as text", broker + "files = 'x'\n", "plan.toml:4: files: want a table"},
		{"version of MQTT", broker + "mqtt = '4'\n", `plan.toml:4: mqtt: "4" is none of`},
		{"insecure", broker + "insecure = 'perhaps'\n", "plan.toml:4: insecure: want true or false"},
		{"scenario's name", broker + "[[scenario]]\nabout = 'x'\nscenario = 'p2p-1'\n", "plan.toml:6: scenario p2p-1: want p2p-"},
		{"scenario's key", broker + scenario + "puplishers = 5\n", "plan.toml:6: puplishers: no such setting"},
		{"scenario's value", broker + scenario + "qos = 'high'\n", `plan.toml:6: qos: "high" is no number`},
		{"scenario's range", broker + scenario + "topics = 3\nqos = 7\n", "plan.toml:7: scenario: qos: 7 is outside 0 to 2"},
		{"scenario as a whole", broker + "\n[[scenario]]\nname = 'none'\n", "plan.toml:5: scenario: no clients"},
		{"scenario without name", broker + "[[scenario]]\nclients = 3\n", "plan.toml:4: scenario without a name"},
		{"same scenario", broker + scenario + scenario, "plan.toml:6: scenario conn-tcp-10-10: there is one of that name before"},
		{"headline", broker + scenario + "headline = 'speed'\n", `plan.toml:6: headline: "speed" is none of rate,`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("plan.toml", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestParseReportsAll proves that one reading shows all faults.
func TestParseReportsAll(t *testing.T) {
	_, err := Parse("p", []byte("rounds = 0\n[[broker]]\nname = 'x'\n[[scenario]]\nqos = 'x'\nsize = 'y'\n"))
	if got := strings.Count(err.Error(), "\n") + 1; got != 4 {
		t.Errorf("%d faults, want 4:\n%v", got, err)
	}
}

// FuzzParse proves that no text makes the reader panic, that a fault has its
// file, and that what is accepted can be carried out.
func FuzzParse(f *testing.F) {
	f.Add(wholePlan)
	f.Add("[[broker]]\nname='x'\ncommand=['x']\n[[scenario]]\nscenario='conn-tcp-10-10'\n")
	f.Add("rounds = [1, {a = 2}]\n[broker]\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse("plan.toml", []byte(text))
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "plan.toml:") {
					t.Errorf("no place: %s", line)
				}
			}
			return
		}
		if len(p.order()) == 0 || p.least() < 0 || p.Base == "" || p.Title == "" {
			t.Errorf("%+v", p)
		}
	})
}

func TestLeast(t *testing.T) {
	p, err := Parse("plan.toml", []byte(wholePlan))
	if err != nil {
		t.Fatal(err)
	}
	// (1 s + 10 s) + (1 s + 2 s), two brokers, five rounds.
	if got := p.least(); got != 140*time.Second {
		t.Errorf("%v", got)
	}
}

func TestTooManyBrokers(t *testing.T) {
	var text strings.Builder
	for _, name := range strings.Split("abcdefghi", "") {
		text.WriteString("[[broker]]\nname = '" + name + "'\ncommand = ['x']\n")
	}
	_, err := Parse("p", []byte(text.String()))
	if err == nil || !strings.Contains(err.Error(), "9 brokers: a plan can have 8") {
		t.Error(err)
	}
}

func TestChoose(t *testing.T) {
	parse := func() *Plan {
		p, err := Parse("plan.toml", []byte(wholePlan))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := parse()
	if err := p.Choose([]string{"a"}, []string{"own"}); err != nil {
		t.Fatal(err)
	}
	if len(p.Brokers) != 1 || p.Base != "a" || len(p.Scenarios) != 1 || p.Scenarios[0].Name != "own" {
		t.Errorf("%+v", p)
	}
	if err := parse().Choose([]string{"c"}, nil); err == nil || !strings.Contains(err.Error(), "no broker c") {
		t.Error(err)
	}
	if err := parse().Choose(nil, []string{"c"}); err == nil || !strings.Contains(err.Error(), "no scenario c") {
		t.Error(err)
	}
}

// TestOrder proves that rounds are interleaved: A B A B.
func TestOrder(t *testing.T) {
	p := &Plan{Rounds: 2, Brokers: []Broker{{Name: "A"}, {Name: "B"}}, Scenarios: []Scenario{{Name: "x"}, {Name: "y"}}}
	var got []string
	for _, turn := range p.order() {
		got = append(got, strings.Repeat("'", turn.round)+turn.scenario.Name+turn.broker.Name)
	}
	if want := strings.Fields("'xA 'xB 'yA 'yB ''xA ''xB ''yA ''yB"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
