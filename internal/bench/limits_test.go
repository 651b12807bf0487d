package bench

import (
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"midge/internal/proc"
)

func TestAddress(t *testing.T) {
	for text, want := range map[string]destination{
		"127.0.0.1:1884":           {"tcp", "127.0.0.1", 1884, ""},
		"broker":                   {"tcp", "broker", 1883, ""},
		"mqtt://[::1]:5":           {"tcp", "::1", 5, ""},
		"tcp://h":                  {"tcp", "h", 1883, ""},
		"mqtts://h":                {"tls", "h", 8883, ""},
		"ssl://h:1":                {"tls", "h", 1, ""},
		"ws://h:8080":              {"ws", "h", 8080, "ws://h:8080/mqtt"},
		"wss://h/other?token=abcd": {"wss", "h", 443, "wss://h:443/other?token=abcd"},
	} {
		if got, err := parseAddress(text); err != nil || got != want {
			t.Errorf("%s is %+v (%v), want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "http://h", "h:x", "h:0", "h:70000", "mqtt://", ":1883", "a b"} {
		if got, err := parseAddress(text); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q is %+v, error %v", text, got, err)
		}
	}
}

// TestLimits proves that a run which the machine can't carry is refused before
// it starts, or spread.
func TestLimits(t *testing.T) {
	limit, err := proc.OwnOpenFiles()
	if err != nil {
		t.Fatal(err)
	}
	room := limit - reserve
	for _, test := range []struct {
		asked, connections, want int
		words                    string
	}{
		{0, 10, 1, ""},
		{0, room, 1, ""},
		{0, room + 1, 2, "2 worker processes"},
		{0, 5 * room, 5, "5 worker processes"},
		{4, 10, 4, ""},
		{2, 2 * room, 2, ""},
	} {
		procs, note, err := processes(test.asked, test.connections)
		if err != nil || procs != test.want || !strings.HasPrefix(note, test.words) || (note == "") != (test.words == "") {
			t.Errorf("%d connections with --procs %d: %d processes, %q, %v; want %d", test.connections, test.asked, procs, note, err, test.want)
		}
	}
	for _, asked := range []int{-1, maxProcs + 1, 100_000} {
		if _, _, err := processes(asked, 1); err == nil || !strings.Contains(err.Error(), "1 to 64") {
			t.Errorf("--procs %d: error %v, want one that names the bounds", asked, err)
		}
	}
	if _, _, err := processes(1, room+1); err == nil || !strings.Contains(err.Error(), "--procs 2") {
		t.Errorf("too many connections for one process: error %v, want one that names --procs 2", err)
	}
	if runtime.GOOS == "linux" {
		if err := checkBroker(os.Getpid(), limit); err == nil || !strings.Contains(err.Error(), "too low") {
			t.Errorf("a broker with too low a limit: error %v", err)
		}
		if err := checkBroker(os.Getpid(), 10); err != nil {
			t.Error(err)
		}
	}
}

func TestSources(t *testing.T) {
	loopback, far := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1")
	many := proc.LocalPorts() * 3
	for _, test := range []struct {
		given       []string
		peer        netip.Addr
		connections int
		want        int
		words       string
	}{
		{nil, loopback, 1000, 0, ""},
		{nil, far, 1000, 0, ""},
		{[]string{"127.0.0.9"}, loopback, 1000, 1, ""},
		{nil, loopback, many, many/portsPerSource + 1, "127.0.0.2"},
		{nil, far, many, 0, "--source"},
		{[]string{"127.0.0.9"}, loopback, many, 0, "--source"},
		{[]string{"x"}, loopback, 1, 0, `source address "x"`},
		{nil, loopback, 1 << 24, 0, "127.0.0.0/24"},
	} {
		got, note, err := sources(test.given, test.peer, test.connections)
		said := note
		if err != nil {
			said = err.Error()
		}
		if len(got) != test.want || !strings.Contains(said, test.words) || (said == "") != (test.words == "") {
			t.Errorf("%+v: %d sources, %q, %v", test, len(got), note, err)
		}
	}
}

// TestWrongTargets proves that mistakes are told at once.
func TestWrongTargets(t *testing.T) {
	s := pairs(1)
	shared := s
	shared.Filter = FilterShared
	for want, run := range map[string]func() error{
		"http:// is none of": func() error { _, err := Run(t.Context(), Target{Address: "http://x"}, s, Options{}); return err },
		"broker.invalid": func() error {
			_, err := Run(t.Context(), Target{Address: "broker.invalid:1"}, s, Options{})
			return err
		},
		"speaks 3.1.1 and 5.0": func() error {
			_, err := Run(t.Context(), Target{Address: "127.0.0.1:1", Version: 3}, s, Options{})
			return err
		},
		"need MQTT 5.0": func() error {
			_, err := Run(t.Context(), Target{Address: "127.0.0.1:1", Version: 4}, shared, Options{})
			return err
		},
		"has no TLS": func() error {
			storm, err := Parse("conn-tls-10-10")
			if err == nil {
				_, err = Run(t.Context(), Target{Address: "127.0.0.1:1"}, storm, Options{})
			}
			return err
		},
		"measure process 999999999": func() error {
			_, err := Run(t.Context(), Target{Address: "127.0.0.1:1", PID: 999999999}, s, Options{})
			return err
		},
		"read CA certificates": func() error {
			_, err := Run(t.Context(), Target{Address: "mqtts://127.0.0.1:1", TLS: TLS{CAFile: "/nonexistent"}}, s, Options{})
			return err
		},
		"client certificate": func() error {
			_, err := Run(t.Context(), Target{Address: "mqtts://127.0.0.1:1", TLS: TLS{CertFile: "/nonexistent"}}, s, Options{})
			return err
		},
		"no clients": func() error {
			_, err := Run(t.Context(), Target{Address: "127.0.0.1:1"}, Default(), Options{})
			return err
		},
	} {
		if err := run(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// TestSourcesOfSessions proves that sessions which outnumber the ports of an
// address are made from several, although few are connected at a time.
func TestSourcesOfSessions(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("left out: the number of ports is known on Linux alone")
	}
	s, err := Parse("persistent-100K-1")
	if err != nil {
		t.Fatal(err)
	}
	s.Returning = 10
	c, err := prepare(Target{Address: "127.0.0.1:1"}, s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(c.plan.Sources); got*proc.LocalPorts() < 100_000 || c.plan.Procs != 1 {
		t.Errorf("%d addresses, %d processes", got, c.plan.Procs)
	}
}
