package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"midge/internal/settings"
)

var update = flag.Bool("update", false, "rewrite the generated reference page")

func TestDefaultIsFreeOfFaults(t *testing.T) {
	l, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range l.Values() {
		if !v.Same || v.Origin.Kind != FromDefault {
			t.Errorf("%s = %s from %v, want the default", v.Key, v.TOML, v.Origin)
		}
	}
}

// TestDefaultsInRange proves that each default could be written to a file.
func TestDefaultsInRange(t *testing.T) {
	def := settings.Default()
	var file strings.Builder
	for _, sec := range settings.Table() {
		if sec.Name == settings.ListenerSection {
			continue // has no default
		}
		if sec.Name != "" {
			fmt.Fprintf(&file, "[%s]\n", sec.Name)
		}
		for _, s := range sec.Settings {
			fmt.Fprintf(&file, "%s = %s\n", strings.TrimPrefix(s.Key, sec.Name+"."), (&setting{s}).toml(&def))
		}
	}
	l, err := Load(Sources{FileName: "midge.toml", File: []byte(file.String())})
	if err != nil {
		t.Fatalf("%v\nof\n%s", err, file.String())
	}
	for _, v := range l.Values() {
		if !v.Same || v.Origin.Kind != FromFile {
			t.Errorf("%s = %s from %v after a round trip", v.Key, v.TOML, v.Origin)
		}
	}
}

func TestPrecedence(t *testing.T) {
	src := Sources{FileName: "midge.toml", File: []byte("threads = 2\n[limits]\npacket_size = \"2MiB\"\nconnect_timeout = \"7s\"\n")}
	check := func(want, origin string) {
		t.Helper()
		l, err := Load(src)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Limits.PacketSize.String(); got != want {
			t.Errorf("packet_size = %s, want %s", got, want)
		}
		if got := l.Origin("limits.packet_size").String(); got != origin {
			t.Errorf("packet_size is from %s, want %s", got, origin)
		}
		if l.Threads != 2 || l.Limits.ConnectTimeout != 7*time.Second {
			t.Errorf("threads = %d, connect_timeout = %v; want 2 and 7s", l.Threads, l.Limits.ConnectTimeout)
		}
	}
	check("2MiB", "midge.toml:3")
	src.Environment = []string{"HOME=/", "MIDGE_LIMITS_PACKET_SIZE=3MiB"}
	check("3MiB", "MIDGE_LIMITS_PACKET_SIZE")
	src.Flags = []Given{{Flag: "--set", Key: "limits.packet_size", Values: []string{"4MiB"}}}
	check("4MiB", "--set")
	src.File = nil
	l, err := Load(src)
	if err != nil || l.Origin("threads").String() != "default" {
		t.Errorf("threads without a file is from %v, %v", l.Origin("threads"), err)
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"unknown key", "[limits]\npacket_sise = 1", "f:2: limits.packet_sise: unknown key; did you mean limits.packet_size?"},
		{"key without its section", "packet_size = 1000", "f:1: packet_size: unknown key; did you mean limits.packet_size?"},
		{"unknown section, once", "[limit]\nconnections = 1\nx = 2", "f:1: [limit]: unknown section; did you mean limits?"},
		{"nothing near", "colour = 1", "f:1: colour: unknown key"},
		{"dotted", "limits.connection = 1", "f:1: limits.connection: unknown key; did you mean limits.connections?"},
		{"inline table", "threads = 1\nlimits = { connections = 1, foo_bar = 2 }", "f:2: limits.foo_bar: unknown key"},
		{"section as a key", "limits = 3", "f:1: limits: this is a section, not a setting"},
		{"double brackets", "[[limits]]\nx = 1", "f:1: limits: a table in double brackets has no meaning here"},
		{"twice", "threads = 1\nthreads = 2", "f:2: threads: already set in line 1"},
		{"section twice", "[sys]\n[log]\n[sys]", "f:3: [sys]: already set in line 1"},
		{"twice in two ways", "limits.connections = 1\n[limits]\nconnections = 2", "f:3: limits.connections: already set in line 1"},
		{"number in quotes", `threads = "2"`, "f:1: threads: this takes a number without quotes"},
		{"fraction", `threads = 2.5`, "f:1: threads: this takes a number without quotes"},
		{"duration without unit", "[sys]\ninterval = 10", `f:2: sys.interval: this takes a duration in quotes, such as "5s"`},
		{"bad duration", "[sys]\ninterval = \"10 sec\"", `f:2: sys.interval: "10 sec" is not a duration; write a number with a unit, such as "500ms", "5s" or "24h"`},
		{"bad size", "[limits]\npacket_size = \"1 megabyte\"", `f:2: limits.packet_size: "1 megabyte" is not a size; write a number of bytes, or one with a unit, such as "64KiB" or "1MiB"`},
		{"range", "[limits]\npacket_size = \"512MiB\"", "f:2: limits.packet_size: 512MiB is outside 50B to 268435460B"},
		{"negative", "threads = -1", "f:1: threads: -1 is outside 0 to 1024"},
		{"no zero", "[session]\ninflight = 0", "f:2: session.inflight: 0 is outside 1 to 65535"},
		{"word", "[log]\nlevel = \"inof\"", `f:2: log.level: "inof" is none of debug, info, warn, error; did you mean info?`},
		{"durable", `durability = "comit"`, `f:1: durability: "comit" is none of commit, interval, none; did you mean commit?`},
		{"list of numbers", "listen = [1883]", `f:1: listen: this takes a list of texts, such as ["a", "b"]`},
		{"empty list", "listen = []", "f:1: listen: there is no listener"},
		{"text for a list", `listen = ":1883"`, `f:1: listen: this takes a list of texts, such as ["a", "b"]`},
		{"listen without port", `listen = ["localhost"]`, "f:1: listen: localhost: write host:port, such as 127.0.0.1:1883, [::1]:1883 or localhost:1883"},
		{"listen port", `listen = [":70000"]`, `f:1: listen: :70000: port "70000" is outside 0 to 65535`},
		{"listen scheme", `listen = ["http://:80"]`, `f:1: listen: http://:80: unknown scheme "http"; write tcp://host:port, or tls, ws or wss for tcp, or unix://path`},
		{"listen twice", `listen = ["tcp://127.0.0.1:1883", "127.0.0.1:1883"]`, "f:1: listen: 127.0.0.1:1883 is listed twice"},
		{"listen twice, localhost", `listen = ["localhost:1883", "127.0.0.1:1883"]`, "f:1: listen: 127.0.0.1:1883 is listed twice"},
		{"listen twice, another spelling", `listen = ["[::1]:1883", "[0::1]:1883"]`, "f:1: listen: [0::1]:1883 is listed twice"},
		{"listen twice, every address", `listen = ["127.0.0.1:1883", ":1883"]`, "f:1: listen: 127.0.0.1:1883 is part of :1883 already; list one of them"},
		{"listen twice, every IPv4", `listen = ["127.0.0.1:1883", "0.0.0.0:1883"]`, "f:1: listen: 127.0.0.1:1883 is part of 0.0.0.0:1883 already; list one of them"},
		{"listen twice, every IPv6", `listen = ["[::1]:1883", "[::]:1883"]`, "f:1: listen: [::1]:1883 is part of [::]:1883 already; list one of them"},
		{"switch", "allow_anonymous = 1", "f:1: allow_anonymous: this takes true or false without quotes"},
		{"switch in quotes", `allow_anonymous = "true"`, "f:1: allow_anonymous: this takes true or false without quotes"},
		{"keep alive", "[session]\nkeep_alive = \"1500ms\"", "f:2: session.keep_alive: 1.5s is not a whole number of seconds"},
		{"syntax", "threads = 1\n\n[limits\n", "f:3: "},
		{"no value", "threads =", "f:1: "},
		{"open text", "threads = 1\ndata_dir = \"x", "f:2: "},
		{"a fault before the syntax ends", "x_y_z = 1\n= 2", "f:1: x_y_z: unknown key\nf:2: "},
		{"all at once", "[log]\nlevel = \"x_y_z\"\n[limits]\npacket_size = 1", "f:2: log.level: \"x_y_z\" is none of debug, info, warn, error\nf:4: limits.packet_size: 1B is outside 50B to 268435460B"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(Sources{FileName: "f", File: []byte(tt.file)})
			if err == nil {
				t.Fatal("no fault found")
			}
			if _, ok := errors.AsType[Faults](err); !ok {
				t.Fatalf("a %T, want Faults", err)
			}
			got := err.Error()
			if open := strings.HasSuffix(tt.want, ": "); got != tt.want && !(open && strings.HasPrefix(got, tt.want)) {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestFaultsOfOtherSources(t *testing.T) {
	_, err := Load(Sources{
		FileName: "f", File: []byte("threads = -3"),
		Environment: []string{"MIDGE_LOG_LEVEL=loud"},
		Flags:       []Given{{Flag: "--set", Key: "limits.conections", Values: []string{"1"}}, {Flag: "--set", Key: "allow_anonymous", Values: []string{"yes"}}, {Flag: "--threads", Key: "threads", Values: []string{"many"}}},
	})
	want := `f:1: threads: -3 is outside 0 to 1024
MIDGE_LOG_LEVEL: log.level: "loud" is none of debug, info, warn, error
--set: limits.conections: unknown key; did you mean limits.connections?
--set: allow_anonymous: "yes" is neither true nor false
--threads: threads: "many" is not a whole number`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestUnknownVariableIsAWarning(t *testing.T) {
	l, err := Load(Sources{Environment: []string{"MIDGE_PORT_1883_TCP=tcp://10.0.0.1:1883", "MIDGE_LIMITS_CONECTIONS=5", "MIDGE_CONFIG=x", "MIDGE_LISTEN=:1, :2", "MIDGE_ALLOW_ANONYMOUS=true"}})
	if err != nil {
		t.Fatal(err)
	}
	want := "environment variable MIDGE_LIMITS_CONECTIONS sets nothing; did you mean MIDGE_LIMITS_CONNECTIONS?\nenvironment variable MIDGE_PORT_1883_TCP sets nothing"
	if got := strings.Join(l.Warnings, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := strings.Join(l.Listen, " "); got != ":1 :2" {
		t.Errorf("listen = %s", got)
	}
}

func TestListeners(t *testing.T) {
	for _, tt := range []struct{ listen, want string }{
		{"tcp://127.0.0.1:1883", "tcp 127.0.0.1:1883"},
		{"mqtt://h:1/", "tcp h:1"},
		{":1883", "tcp :1883"},
		{"[::1]:01883", "tcp [::1]:1883"},
		{"[0:0::1]:5", "tcp [::1]:5"},
		{"tcp://[::]:0", "tcp [::]:0"},
		{"[::]:7", "tcp [::]:7"},
		{"[::]:7 0.0.0.0:7", "tcp6 [::]:7, tcp4 0.0.0.0:7"},
		{"0.0.0.0:7 [::]:7", "tcp4 0.0.0.0:7, tcp6 [::]:7"},
		{"192.0.2.1:7 [::]:7", "tcp 192.0.2.1:7, tcp6 [::]:7"},
		{"0.0.0.0:8 [::]:7", "tcp4 0.0.0.0:8, tcp [::]:7"},
		{"[::ffff:192.0.2.1]:7 [::]:7", "tcp 192.0.2.1:7, tcp6 [::]:7"},
		{"localhost:1883", "tcp 127.0.0.1:1883, tcp [::1]:1883 too"},
		{"localhost:0", "tcp 127.0.0.1:0, tcp [::1]:0 too"},
	} {
		l, err := Load(Sources{Flags: []Given{
			{Flag: "--listen", Key: "listen", Values: strings.Fields(tt.listen)}, {Flag: "--set", Key: "allow_anonymous", Values: []string{"true"}},
		}})
		if err != nil {
			t.Errorf("%s: %v", tt.listen, err)
			continue
		}
		var all []string
		for _, one := range l.Listeners {
			for _, a := range one.Addresses {
				text := a.Network + " " + a.Target()
				if a.SamePort {
					text += " too"
				}
				all = append(all, text)
			}
		}
		if got := strings.Join(all, ", "); got != tt.want {
			t.Errorf("%s means %s, want %s", tt.listen, got, tt.want)
		}
	}
}

// TestOpenListener proves that nobody lets everybody in without saying so.
func TestOpenListener(t *testing.T) {
	for _, listen := range []string{
		":1883", "0.0.0.0:1883", "[::]:1883", "192.0.2.1:1883", "[2001:db8::1]:1883", "[fe80::1%eth0]:1883", "broker.example:1883", ":0",
		"[::ffff:192.0.2.1]:1883",
		"127.0.0.1:1883 tcp://0.0.0.0:1884",
	} {
		given := Given{Flag: "--listen", Key: "listen", Values: strings.Fields(listen)}
		_, err := Load(Sources{Flags: []Given{given}})
		want := "--listen: listen: " + given.Values[len(given.Values)-1] + ": other machines could connect, and nobody is asked for a password; " +
			"set auth.password_file or, if that is meant, write allow_anonymous = true in the file, or --set allow_anonymous=true"
		if err == nil || err.Error() != want {
			t.Errorf("%s without allow_anonymous: got\n%v\nwant\n%s", listen, err, want)
		}
		if _, err := Load(Sources{File: []byte("allow_anonymous = true"), Flags: []Given{given}}); err != nil {
			t.Errorf("%s with allow_anonymous: %v", listen, err)
		}
		if _, err := Load(Sources{File: []byte("allow_anonymous = false"), Flags: []Given{given}}); err == nil {
			t.Errorf("%s with allow_anonymous = false is no fault", listen)
		}
	}
	for _, listen := range []string{"127.0.0.1:1883", "127.8.9.10:1883", "[::1]:1883", "localhost:1883", "[::ffff:127.0.0.1]:1883"} {
		if _, err := Load(Sources{Flags: []Given{{Flag: "--listen", Key: "listen", Values: []string{listen}}}}); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
	}
}

func TestReferenceIsUpToDate(t *testing.T) {
	const page = "../../docs/reference/config.md"
	if *update {
		if err := os.WriteFile(page, []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Reference() {
		t.Errorf("%s is stale; run make docs", page)
	}
}

// FuzzFile proves that no file makes the reader panic, and that each fault of
// a file has a line.
func FuzzFile(f *testing.F) {
	f.Add("threads = 1\n[limits]\nconnections = 0x10 # c\n")
	f.Add("listen = [\":1\", # c\n \"\"\"x\"\"\"]\n[[log]]\nlimits = { a.b = 1 }")
	f.Add("a = 1979-05-27T07:32:00Z\nb = 'x\n")
	f.Add("threads =")
	f.Add("\"\\u00e9\" = {")
	f.Fuzz(func(t *testing.T, doc string) {
		_, err := Load(Sources{FileName: "f", File: []byte(doc)})
		faults, _ := errors.AsType[Faults](err)
		for _, fault := range faults {
			if fault.Origin.Kind == FromFile && fault.Origin.Line < 1 {
				t.Errorf("no line in %q", fault)
			}
		}
	})
}

// TestFrom proves that faults and values of a file that was made from others are
// told with the places that they are from.
func TestFrom(t *testing.T) {
	from := func(line int) (string, int) {
		if line == 2 {
			return "other.conf", 12
		}
		return "", 0
	}
	src := Sources{FileName: "main.conf", File: []byte("threads = 1\nshards = 2\n"), From: from}
	l, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := l.Origin("threads").String(), l.Origin("shards").String(); a != "main.conf" || b != "other.conf:12" {
		t.Errorf("%s and %s", a, b)
	}
	src.File = []byte("threads = 1\nshards = 1000\n[[listener]]\n")
	_, err = Load(src)
	if want := "main.conf: listener: the listener has no address\nother.conf:12: shards: 1000 is outside 0 to 64"; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
}
