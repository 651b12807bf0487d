package conf

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"midge/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// files are files of Mosquitto as people write them.
func files(t *testing.T) (names []string) {
	t.Helper()
	names, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(names) < 10 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	return names
}

func convert(t *testing.T, name string) *Converted {
	t.Helper()
	f, err := Read(name)
	if err != nil {
		t.Fatal(err)
	}
	return Convert(f)
}

// report is what a person is told of the findings.
func report(d *Converted) string {
	var b strings.Builder
	for i := range d.Findings {
		b.WriteString([]string{Same: "same", Missing: "missing", Blocking: "blocking", Fault: "fault"}[d.Findings[i].Kind] + " " + d.Findings[i].String() + "\n")
	}
	return b.String()
}

// TestFiles converts each file, and compares the result and what is said of
// its lines.
func TestFiles(t *testing.T) {
	for _, name := range files(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			d := convert(t, name)
			golden(t, strings.TrimSuffix(name, ".conf")+".toml", string(d.TOML))
			golden(t, strings.TrimSuffix(name, ".conf")+".findings", report(d))
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// TestFilesAreAccepted proves that what is made of each file is one of this
// broker, and that no secret is in it.
func TestFilesAreAccepted(t *testing.T) {
	for _, name := range files(t) {
		d := convert(t, name)
		l, err := config.Load(config.Sources{FileName: "midge.toml", File: d.TOML})
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, d.TOML)
			continue
		}
		if len(l.Warnings) > 0 {
			t.Errorf("%s: warnings %q", name, l.Warnings)
		}
		if strings.Contains(string(d.TOML)+report(d), "hush") {
			t.Errorf("%s: a password is shown", name)
		}
	}
}

// TestEveryLineIsAccountedFor proves that each line of each file is behind a
// setting or a listener, or among the findings.
func TestEveryLineIsAccountedFor(t *testing.T) {
	for _, name := range files(t) {
		f, err := Read(name)
		if err != nil {
			t.Fatal(err)
		}
		d := Convert(f)
		for _, p := range f.parts {
			for i := range p.lines {
				if l := &p.lines[i]; !strings.Contains(string(d.TOML), printable(l.Place()+": "+l.String())) {
					t.Errorf("%s: %s is nowhere in\n%s", l.Place(), l, d.TOML)
				}
			}
		}
	}
}

// TestTwice proves that lines which do not count because others do are told.
func TestTwice(t *testing.T) {
	text := "port 1\nport 2\nallow_anonymous true\nallow_anonymous true\nmax_connections 1\nmax_connections 2\npersistence true\npersistence false\nmax_packet_size 100\nmax_packet_size 200\n"
	d := Convert(read(source{"m.conf", []byte(text)}, nil))
	var got []int
	for _, f := range d.Findings {
		got = append(got, f.Line.Number)
	}
	if want := []int{1, 3, 5, 7, 9}; !slices.Equal(got, want) {
		t.Errorf("lines %v, want %v\n%s", got, want, report(d))
	}
}

// TestFrom proves that a fault in what is made can be told with the line that it
// is from.
func TestFrom(t *testing.T) {
	for _, name := range files(t) {
		d := convert(t, name)
		n := 0
		for line := range strings.Lines(string(d.TOML)) {
			n++
			from, ok := d.From[n]
			if before, _, _ := strings.Cut(line, "# "); !strings.Contains(before, " = ") || !strings.Contains(line, "  # ") {
				continue
			}
			if !ok || !strings.Contains(line, from.Place()+": "+from.String()) {
				t.Errorf("%s: line %d is from %v: %s", name, n, from, line)
			}
		}
	}
}

// open are the addresses that a text of Mosquitto opens here, and the worst
// finding.
func open(t *testing.T, text string, included ...source) (addresses string, l *config.Loaded, worst Kind) {
	t.Helper()
	f := read(source{"mosquitto.conf", []byte(text)}, func(string) ([]source, error) {
		if included == nil {
			return nil, errors.New("no such directory")
		}
		return included, nil
	})
	d := Convert(f)
	l, err := config.Load(config.Sources{FileName: "midge.toml", File: d.TOML})
	if err != nil {
		t.Fatalf("%q: %v\n%s", text, err, d.TOML)
	}
	var all []string
	for i := range l.Listeners {
		all = append(all, l.Listeners[i].Listener.Address)
	}
	return strings.Join(all, " "), l, d.Worst()
}

// TestListeners holds the rules of listeners against what Mosquitto 2.0.11 does.
func TestListeners(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
		worst            Kind
	}{
		{"none", "", "tcp://localhost:1883", 0},
		{"none, and options of a listener", "protocol mqtt\nmax_connections -1\n", "tcp://localhost:1883", Same},
		{"port", "allow_anonymous true\nport 1\n", "tcp://:1", 0},
		{"port twice: the last counts", "allow_anonymous true\nport 1\nport 2\n", "tcp://:2", Same},
		{"port and listener: both", "allow_anonymous true\nport 1\nlistener 2\n", "tcp://:1 tcp://:2", 0},
		{"bind_address without port", "allow_anonymous true\nbind_address 10.0.0.1\n", "tcp://10.0.0.1:1883", 0},
		{"port behind a listener", "allow_anonymous true\nlistener 2\nport 1\n", "tcp://:1 tcp://:2", 0},
		{"an option above the first listener opens the default one", "allow_anonymous true\nmax_connections 5\nlistener 2\n", "tcp://:2 tcp://:1883", 0},
		{"an option opens the default one, to nobody", "max_connections 5\nlistener 2\n", "tcp://127.0.0.1:1883", Blocking},
		{"the last protocol counts", "allow_anonymous true\nlistener 2\nprotocol websockets\nprotocol mqtt\n", "tcp://:2", 0},
		{"several words of blank", "allow_anonymous true\n  listener   2   127.0.0.1  \n", "tcp://127.0.0.1:2", 0},
		{"a comment behind a listener", "allow_anonymous true\nlistener 2 # all\n", "tcp://:2", 0},
		{"IPv6", "allow_anonymous true\nlistener 2 ::1\nlistener 2 127.0.0.1", "tcp://[::1]:2 tcp://127.0.0.1:2", 0},
		{"IPv4 only", "allow_anonymous true\nlistener 2\nsocket_domain ipv4\n", "tcp://0.0.0.0:2", 0},
		{"nobody could connect", "listener 2\n", "tcp://127.0.0.1:1883", Blocking},
		{"nobody could connect, said", "allow_anonymous false\nlistener 2\n", "tcp://127.0.0.1:1883", Blocking},
		{"nobody could connect, on loopback", "allow_anonymous false\n", "tcp://127.0.0.1:1883", Blocking},
		{"passwords", "password_file /p\nlistener 2\n", "tcp://:2", 0},
		{"passwords for one", "per_listener_settings true\nlistener 2\npassword_file /p\nlistener 3\nallow_anonymous true\n", "tcp://:2 tcp://:3", Same},
		{"passwords for the default one", "per_listener_settings true\npassword_file /p\nlistener 3\nallow_anonymous true\n", "tcp://:3", Same},
		{"a plug-in", "plugin /p.so\nlistener 2\n", "tcp://127.0.0.1:1883", Blocking},
		{"a plug-in for one", "per_listener_settings true\nlistener 2\nplugin /p.so\nlistener 3\nallow_anonymous true\n", "tcp://:3", Blocking},
		{"plain and certificates", "listener 2\nallow_anonymous true\nlistener 3\ntls_keyform engine\n", "tcp://:2", Blocking},
		{"anonymous for the default one", "per_listener_settings true\nallow_anonymous true\nlistener 3\n", "tcp://127.0.0.1:1883", Blocking},
		{"access list", "acl_file /a\nallow_anonymous true\nlistener 2\n", "tcp://:2", 0},
		{"WebSocket", "allow_anonymous true\nlistener 2\nlistener 3\nprotocol websockets\n", "tcp://:2 ws://:3", 0},
		{"TLS", "allow_anonymous true\nlistener 2\ncertfile /c\nkeyfile /k\n", "tls://:2", 0},
		{"TLS and WebSocket", "allow_anonymous true\nlistener 2\nprotocol websockets\ncertfile /c\nkeyfile /k\n", "wss://:2", 0},
		{"names from certificates", "listener 2\nuse_subject_as_username true\nuse_identity_as_username true\nrequire_certificate true\ncafile /a\ncertfile /c\nkeyfile /k\n", "tls://:2", Same},
		{"Unix socket", "allow_anonymous true\nlistener 2\nlistener 0 /run/m.sock\n", "tcp://:2 unix:///run/m.sock", 0},
		{"an interface", "allow_anonymous true\nlistener 2\nbind_interface eth0\n", "tcp://127.0.0.1:1883", Blocking},
		{"a port too high", "allow_anonymous true\nlistener 70000\nlistener 2\n", "tcp://:2", Fault},
		{"a byte order mark", "\uFEFFlistener 2\n", "tcp://localhost:1883", Fault},
		{"no line end", "allow_anonymous true\nlistener 2", "tcp://:2", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, _, worst := open(t, tt.text); got != tt.want || worst != tt.worst {
				t.Errorf("%s, worst finding %d; want %s, %d", got, worst, tt.want, tt.worst)
			}
		})
	}
}

// TestInclude proves that an included file has listeners of its own, and that
// the one that includes it goes on behind it.
func TestInclude(t *testing.T) {
	in := source{"d/a.conf", []byte("socket_domain ipv4\nlistener 3\nallow_anonymous true\n")}
	got, l, worst := open(t, "listener 2\ninclude_dir d\nmax_topic_alias 9\n", in)
	if want := "tcp://0.0.0.0:1883 tcp://:2 tcp://:3"; got != want || worst != Missing {
		t.Errorf("%s, worst %d; want %s", got, worst, want)
	}
	if l.Limits.TopicAliases != 16 {
		t.Errorf("the option behind the included file is for all: %d", l.Limits.TopicAliases)
	}
}

// TestAccess proves that passwords, access lists and who comes without a name are
// those of all listeners, or with per_listener_settings of the one below which they
// stand.
func TestAccess(t *testing.T) {
	const options = "allow_anonymous true\npassword_file /p q\nacl_file /a\n"
	for _, tt := range []struct{ name, text, want string }{
		{"all", options + "listener 2\nlistener 3\n", "2 true /p q /a; 3 true /p q /a; "},
		{"all, below one", "listener 2\n" + options + "listener 3\n", "2 true /p q /a; 3 true /p q /a; "},
		{"one", "per_listener_settings true\nlistener 2\n" + options + "listener 3\npassword_file /r\n", "2 true /p q /a; 3 false /r ; "},
		{"none but this machine's", "password_file /p\n", "1883 true /p ; "},
		{"the last counts", "listener 2\npassword_file /p\npassword_file /q\n", "2 false /q ; "},
	} {
		_, l, _ := open(t, tt.text)
		got := ""
		for i := range l.Listeners {
			one := &l.Listeners[i]
			got += fmt.Sprintf("%s %v %s %s; ", one.Addresses[0].Port, one.AllowAnonymous, one.Auth.PasswordFile, one.ACL.File)
		}
		if got != tt.want {
			t.Errorf("%s: %s; want %s", tt.name, got, tt.want)
		}
	}
}

// TestMountPoint takes over what means the same here, and opens no listener whose clients
// would have other topics than in Mosquitto.
func TestMountPoint(t *testing.T) {
	for text, want := range map[string]string{"a/b/": "a/b/", "a": "!", "a/%u/": "!", "$SYS/a/": "!", "$share/a/": "!", "a+/": "fault", "#/": "fault"} {
		d := Convert(read(source{"m.conf", []byte("listener 2\nallow_anonymous true\nmount_point " + text + "\n")}, nil))
		l, err := config.Load(config.Sources{FileName: "midge.toml", File: d.TOML})
		got := ""
		for _, f := range d.Findings {
			switch {
			case f.Kind == Blocking:
				got = "!"
			case f.Kind == Fault:
				got = "fault"
			}
		}
		if got == "" && err == nil {
			got = l.Listeners[0].MountPoint
		}
		if got != want {
			t.Errorf("%s: %s, want %s; %v\n%s", text, got, want, err, d.TOML)
		}
	}
}

// TestListenerValues proves that a listener has its own limits.
func TestListenerValues(t *testing.T) {
	_, l, _ := open(t, "allow_anonymous true\nlistener 2\nmax_connections 7\nlistener 3\nmax_connections -1\nlistener 4\nmax_connections 1\nmax_connections 2\n")
	got := map[string]int{}
	for i := range l.Listeners {
		got[l.Listeners[i].Addresses[0].Port] = l.Listeners[i].Limits.Connections
	}
	if want := map[string]int{"2": 7, "3": 0, "4": 2}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestIncludeOrder(t *testing.T) {
	names := []string{"b.conf", "A.conf", "01.conf", "a.conf", "B.conf", "00.conf", "aa.conf"}
	slices.SortFunc(names, byName)
	if got, want := strings.Join(names, " "), "00.conf 01.conf A.conf a.conf aa.conf B.conf b.conf"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

// TestValues holds settings against what Mosquitto means.
func TestValues(t *testing.T) {
	for text, want := range map[string]string{
		"max_inflight_messages 0":                   `session.inflight = 65535`,
		"max_inflight_messages 5x":                  `session.inflight = 5`,
		"max_queued_messages 0":                     `session.stored_messages = 100000000`,
		"max_queued_bytes 1000":                     `session.queued_bytes = "1000B"`,
		"max_keepalive 60":                          `session.keep_alive = "1m0s"`,
		"persistent_client_expiration 3h":           `session.max_expiry = "3h0m0s"`,
		"persistent_client_expiration 1y":           `session.max_expiry = "8760h0m0s"`,
		"persistent_client_expiration 9999999999y":  `session.max_expiry = "876000h0m0s"`,
		"retain_available 0":                        `limits.retained_messages = 0`,
		"":                                          `limits.packet_size = "256MiB"`,
		"max_packet_size 20":                        `limits.packet_size = "50B"`,
		"message_size_limit 1000":                   `limits.packet_size = "66552B"`,
		"memory_limit 100000000":                    `limits.memory = "100000000B"`,
		"memory_limit 10":                           `limits.memory = "32MiB"`,
		"log_type none":                             `log.level = "error"`,
		"log_type error\nlog_type debug":            `log.level = "debug"`,
		"persistence true":                          `data_dir = "midge-data"`,
		"persistence 1\npersistence_location /x y/": `data_dir = "/x y/midge-data"`,
		"persistence false":                         `durability = "none"`,
		"sys_interval 0":                            `sys.interval = "0s"`,
		"connection_messages false":                 `log.connections = false`,
	} {
		_, l, _ := open(t, text)
		key, value, _ := strings.Cut(want, " = ")
		for _, v := range l.Values() {
			if v.Key == key && v.TOML != value {
				t.Errorf("%q: %s = %s, want %s", text, key, v.TOML, value)
			}
		}
	}
}

// TestEveryOption proves that each option is known with what it belongs to, and
// that none of them makes a file that is refused.
func TestEveryOption(t *testing.T) {
	for name, o := range options() {
		for _, value := range []string{"true", "false", "1", "0", "-1", "99999999999999999999", "x", "/a b", "stderr", "\x00\x7f\xff\"\\", "mqtt", "14d"} {
			_, _, worst := open(t, "allow_anonymous true\nlistener 2\nconnection c\nplugin p\n"+name+" "+value+"\n")
			if worst == 0 {
				t.Errorf("%s %q: no finding at all", name, value)
			}
		}
		if (o.take == nil) == (o.kind == 0) {
			t.Errorf("%s becomes a setting and a finding, or neither", name)
		}
	}
}

// FuzzConvert proves that whatever a file says, what is made of it is accepted.
func FuzzConvert(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.conf")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, []byte("listener 1884\n"))
	}
	f.Fuzz(func(t *testing.T, text, included []byte) {
		d := Convert(read(source{"mosquitto.conf", text}, func(dir string) ([]source, error) {
			return []source{{dir + "/a.conf", included}}, nil
		}))
		_, err := config.Load(config.Sources{FileName: "midge.toml", File: d.TOML})
		faults, ok := errors.AsType[config.Faults](err)
		if err != nil && !ok {
			t.Fatal(err)
		}
		for _, fault := range faults {
			if fault.Key != "listen" && !strings.Contains(fault.Key, "address") && !strings.Contains(fault.Key, "data_dir") {
				t.Fatalf("%v\n%s", fault, d.TOML)
			}
		}
		_ = report(d)
	})
}
