package config

import (
	"fmt"
	"strings"
	"testing"

	"midge/internal/settings"
)

// describe writes the listeners of a configuration, one a line.
func describe(l *Loaded) string {
	var lines []string
	for i := range l.Listeners {
		one := &l.Listeners[i]
		line := fmt.Sprintf("%s: %s", one.Name(), one.Addresses[0].String())
		for _, v := range one.Own() {
			if v.Key != "name" && v.Key != "address" {
				line += fmt.Sprintf(", %s = %s from %v", v.Key, v.TOML, v.Origin)
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func set(key, value string) Given { return Given{Flag: "--set", Key: key, Values: []string{value}} }

// TestListenerTables proves where a listener with settings of its own comes from, and which
// source wins.
func TestListenerTables(t *testing.T) {
	const plant = "[[listener]]\nname = \"plant\"\naddress = \"127.0.0.1:1884\"\n"
	for _, tt := range []struct {
		name, file string
		env        []string
		flags      []Given
		want       string
		warnings   string
	}{
		{name: "the default", want: "tcp://127.0.0.1:1883: tcp://127.0.0.1:1883"},
		{name: "a table instead of the default", file: plant, want: "plant: tcp://127.0.0.1:1884"},
		{name: "beside a list", file: "listen = [\"localhost:1\"]\n" + plant, want: "localhost:1: tcp://127.0.0.1:1\nplant: tcp://127.0.0.1:1884"},
		{name: "without a name", file: "[[listener]]\naddress = \":7\"\nallow_anonymous = true", want: ":7: tcp://:7, allow_anonymous = true from f:3"},
		{
			name: "several, with the general section after them", file: plant + "[[listener]]\naddress = \"[::1]:5\"\nallow_anonymous = true\n[limits]\nconnections = 7",
			want: "plant: tcp://127.0.0.1:1884\n[::1]:5: tcp://[::1]:5, allow_anonymous = true from f:6",
		},
		{name: "environment over file", file: plant + "allow_anonymous = true", env: []string{"MIDGE_LISTENER_PLANT_ALLOW_ANONYMOUS=false"}, want: "plant: tcp://127.0.0.1:1884, allow_anonymous = false from MIDGE_LISTENER_PLANT_ALLOW_ANONYMOUS"},
		{
			name: "flag over environment", file: plant, env: []string{"MIDGE_LISTENER_PLANT_ALLOW_ANONYMOUS=false"}, flags: []Given{set("listener.plant.allow_anonymous", "true")},
			want: "plant: tcp://127.0.0.1:1884, allow_anonymous = true from --set",
		},
		{name: "only flags", flags: []Given{set("listener.a.address", "unix:///tmp/a"), set("listener.b-1.address", ":2"), set("listener.b-1.allow_anonymous", "true")}, want: "a: unix:///tmp/a\nb-1: tcp://:2, allow_anonymous = true from --set"},
		{name: "only environment", env: []string{"MIDGE_LISTENER_B_1_ADDRESS=127.0.0.1:2"}, want: "b_1: tcp://127.0.0.1:2"},
		{name: "a name with a dash in the environment", file: strings.Replace(plant, "plant", "Plant-1", 1), env: []string{"MIDGE_LISTENER_PLANT_1_ADDRESS=127.0.0.1:2"}, want: "Plant-1: tcp://127.0.0.1:2"},
		{
			name: "a flag replaces what the file listens on", file: "listen = [\":9\"]\n" + plant, flags: []Given{{Flag: "--listen", Key: "listen", Values: []string{"127.0.0.1:2883"}}},
			want: "127.0.0.1:2883: tcp://127.0.0.1:2883", warnings: "--listen replaces the listener at f:4",
		},
		{
			name: "and not what a flag has set", file: plant, flags: []Given{{Flag: "--listen", Key: "listen", Values: []string{"127.0.0.1:2883"}}, set("listener.plant.address", "127.0.0.1:4")},
			want: "127.0.0.1:2883: tcp://127.0.0.1:2883\nplant: tcp://127.0.0.1:4",
		},
		{name: "general settings hold", file: "allow_anonymous = true\n" + strings.Replace(plant, "127.0.0.1", "", 1), want: "plant: tcp://:1884"},
		{name: "every scheme", file: "listen = [\"tls://127.0.0.1:1\", \"mqtts://127.0.0.1:2\", \"ws://127.0.0.1:3/mqtt\", \"wss://127.0.0.1:4/\", \"unix://x\"]", want: "tls://127.0.0.1:1: tls://127.0.0.1:1\nmqtts://127.0.0.1:2: tls://127.0.0.1:2\nws://127.0.0.1:3/mqtt: ws://127.0.0.1:3\nwss://127.0.0.1:4/: wss://127.0.0.1:4\nunix://x: unix://x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Load(Sources{FileName: "f", File: []byte(tt.file), Environment: tt.env, Flags: tt.flags})
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(l); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if got := strings.Join(l.Warnings, "\n"); got != tt.warnings {
				t.Errorf("warned of\n%s\nwant\n%s", got, tt.warnings)
			}
		})
	}
}

// TestListenerSettings proves that a listener's own settings leave those of others
// alone.
func TestListenerSettings(t *testing.T) {
	l, err := Load(Sources{FileName: "f", File: []byte("allow_anonymous = true\n[[listener]]\naddress = \":1\"\n[[listener]]\naddress = \"127.0.0.1:2\"\nallow_anonymous = false")})
	if err != nil {
		t.Fatal(err)
	}
	if one, two := &l.Listeners[0], &l.Listeners[1]; !one.AllowAnonymous || two.AllowAnonymous || !l.AllowAnonymous {
		t.Errorf("allow_anonymous is %v and %v", one.AllowAnonymous, two.AllowAnonymous)
	}
}

func TestListenerFaults(t *testing.T) {
	const plant = "[[listener]]\nname = \"plant\"\naddress = \"127.0.0.1:1884\"\n"
	for _, tt := range []struct {
		name, file string
		env        []string
		flags      []Given
		want       string
	}{
		{name: "single brackets", file: "[listener]\naddress = \":1\"", want: "f:1: [listener]: write [[listener]], in double brackets: there may be several"},
		{name: "as a key", file: "listener = [{ address = \":1\" }]", want: "f:1: listener: write a listener as a table, [[listener]] in a line of its own and its keys below"},
		{name: "dotted at the top", file: "listener.address = \":1\"", want: "f:1: listener.address: write a listener as a table, [[listener]] in a line of its own and its keys below"},
		{name: "a section of none", file: "[listener.limits]\nx = 1", want: "f:1: [listener.limits]: this belongs to the [[listener]] above it, and there is none"},
		{name: "unknown key", file: plant + "alow_anonymous = true", want: "f:4: [[listener]] alow_anonymous: unknown key; did you mean allow_anonymous?"},
		{name: "a general key", file: plant + "threads = 1", want: "f:4: [[listener]] threads: this is the same for all listeners; set it outside of [[listener]]"},
		{name: "a general section", file: plant + "[listener.session]\ninflight = 1", want: "f:4: [listener.session]: [session] is the same for all listeners"},
		{name: "type", file: plant + "allow_anonymous = 1", want: "f:4: [[listener]] allow_anonymous: this takes true or false without quotes"},
		{name: "twice", file: plant + "address = \":1\"", want: "f:4: [[listener]] address: already set in line 3"},
		{name: "name twice", file: plant + strings.Replace(plant, "1884", "1885", 1), want: `f:5: [[listener]] name: "plant" is the name of another one, at f:1`},
		{name: "the same variables", file: strings.Replace(plant, "plant", "a-b", 1) + "[[listener]]\nname = \"A_B\"\naddress = \"127.0.0.1:2\"", want: `f:5: [[listener]] name: "A_B" is the name of another one, at f:1`},
		{name: "a name that no key could have", file: strings.Replace(plant, "plant", "a.b", 1), want: `f:2: [[listener]] name: "a.b" has other characters than letters, digits, - and _`},
		{name: "no address", file: "[[listener]]\nname = \"plant\"", want: "f:1: listener: the listener plant has no address"},
		{name: "no address, no name", file: "[[listener]]", want: "f:1: listener: the listener has no address"},
		{name: "a mistyped name", file: plant, flags: []Given{set("listener.plnat.allow_anonymous", "true")}, want: "--set: listener: the listener plnat has no address; did you mean plant?"},
		{name: "no address by variable", env: []string{"MIDGE_LISTENER_X_ALLOW_ANONYMOUS=true"}, want: "MIDGE_LISTENER_X_ALLOW_ANONYMOUS: listener: the listener x has no address"},
		{name: "unknown key of a flag", flags: []Given{set("listener.plant.adress", ":1")}, want: "--set: listener.plant.adress: unknown key of a listener; did you mean address?"},
		{name: "a general key of a flag", flags: []Given{set("listener.plant.threads", "1")}, want: "--set: listener.plant.threads: threads is the same for all listeners"},
		{name: "no name in a flag", flags: []Given{set("listener.address", ":1")}, want: "--set: listener.address: unknown key of a listener"},
		{name: "a name by flag", flags: []Given{set("listener.plant.name", "x")}, want: "--set: listener.plant.name: the name stands in the key already"},
		{name: "address", file: "[[listener]]\naddress = \"1884\"", want: "f:2: [[listener]] address: 1884: write host:port, such as 127.0.0.1:1883, [::1]:1883 or localhost:1883"},
		{name: "address by flag", flags: []Given{set("listener.a.address", "ftp://x")}, want: `--set: listener.a.address: ftp://x: unknown scheme "ftp"; write tcp://host:port, or tls, ws or wss for tcp, or unix://path`},
		{name: "a path of tcp", flags: []Given{set("listener.a.address", "tcp://127.0.0.1:1/x")}, want: `--set: listener.a.address: tcp://127.0.0.1:1/x: a tcp listener has no path`},
		{name: "no URL", flags: []Given{set("listener.a.address", "ws://127.0.0.1:1/x?y")}, want: `--set: listener.a.address: ws://127.0.0.1:1/x?y: "/x?y" is not the path of a URL`},
		{name: "an address twice", file: "listen = [\"127.0.0.1:1884\"]\n" + plant, want: "f:4: [[listener]] address: 127.0.0.1:1884 is listed twice"},
		{name: "a socket twice", file: "listen = [\"unix:///a\", \"unix:///a\"]", want: "f:1: listen: unix:///a is listed twice"},
		{name: "no path", file: "listen = [\"unix://\"]", want: "f:1: listen: unix://: write unix://path, such as unix:///run/midge/midge.sock"},
		{name: "an identifier of nobody", file: "[auth]\nclient_id = \"%u\"", want: "f:2: auth.client_id: listener tcp://127.0.0.1:1883 asks nobody who he is, so that nobody could connect; set auth.password_file"},
		{
			name: "open", file: strings.Replace(plant, "127.0.0.1", "", 1),
			want: "f:3: [[listener]] address: :1884: other machines could connect, and nobody is asked for a password; set auth.password_file or, if that is meant, write allow_anonymous = true in the file, or --set listener.plant.allow_anonymous=true",
		},
		{name: "mode", file: plant + "socket_mode = \"0999\"", want: `f:4: [[listener]] socket_mode: "0999" is not a mode of a file; write three or four digits from 0 to 7, such as "0660"`},
		{name: "proxy", file: plant + "proxy_protocol = [\"10.0.0.0/40\"]", want: `f:4: [[listener]] proxy_protocol: "10.0.0.0/40" is no address; write such as "10.0.0.0/8", "192.0.2.7" or "2001:db8::/32"`},
		{
			name: "open by a proxy", file: plant + "proxy_protocol = [\"127.0.0.1\"]",
			want: "f:3: [[listener]] address: 127.0.0.1:1884: other machines could connect, and nobody is asked for a password; set auth.password_file or, if that is meant, write allow_anonymous = true in the file, or --set listener.plant.allow_anonymous=true",
		},
		{
			name: "open although the others are", file: "allow_anonymous = true\n" + strings.Replace(plant, "127.0.0.1", "", 1) + "allow_anonymous = false",
			want: "f:4: [[listener]] address: :1884: other machines could connect, and nobody is asked for a password; set auth.password_file or, if that is meant, write allow_anonymous = true in the file, or --set listener.plant.allow_anonymous=true",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(Sources{FileName: "f", File: []byte(tt.file), Environment: tt.env, Flags: tt.flags})
			if got := fmt.Sprint(err); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestListenerNoise proves that variables which Kubernetes makes up are no listeners.
func TestListenerNoise(t *testing.T) {
	l, err := Load(Sources{Environment: []string{"MIDGE_LISTENER_PORT=tcp://10.0.0.1:1883", "MIDGE_LISTENER_PORT_1883_TCP_ADDR=10.0.0.1", "MIDGE_LISTENER_SERVICE_HOST=10.0.0.1", "MIDGE_LISTENER_ADDRESS=x"}})
	if err != nil || len(l.Warnings) != 4 || len(l.Listeners) != 1 {
		t.Errorf("%v, warnings %q", err, l.Warnings)
	}
}

// TestSecretIsHidden proves that a secret is shown to nobody, and that one that is not
// set can be told from one that is.
func TestSecretIsHidden(t *testing.T) {
	s := &setting{settings.Setting{Key: "x", At: func(c *settings.Settings) any { return &c.DataDir }, Secret: true}}
	for value, want := range map[string]string{"": `""`, "hunter2": `"(hidden)"`} {
		if got := s.shown(&settings.Settings{DataDir: value}); got != want {
			t.Errorf("the secret %q is shown as %s, want %s", value, got, want)
		}
	}
	list := &setting{settings.Setting{Key: "x", At: func(c *settings.Settings) any { return &c.Listen }, Secret: true}}
	if got := list.shown(&settings.Settings{Listen: []string{"a", "b"}}); got != `["(hidden)"]` {
		t.Errorf("a list is shown as %s", got)
	}
}

// TestPasswordsOpenListeners takes addresses that other machines can reach where
// passwords are asked for: in general, or of the listener alone.
func TestPasswordsOpenListeners(t *testing.T) {
	const open = "listen = []\n[[listener]]\nname = \"a\"\naddress = \":1884\"\n"
	for _, file := range []string{
		open + "auth.password_file = \"passwords\"",
		open + "[auth]\npassword_file = \"passwords\"",
		"listen = [\":1884\"]\n[auth]\npassword_file = \"passwords\"",
	} {
		l, err := Load(Sources{File: []byte(file)})
		if err != nil {
			t.Errorf("%v of\n%s", err, file)
		} else if one := &l.Listeners[0]; !one.Asks() || one.LetsAnybodyIn() {
			t.Errorf("%+v of\n%s", one.Auth, file)
		}
	}
	if _, err := Load(Sources{File: []byte(open + "auth.password_file = \"\"\n[auth]\npassword_file = \"passwords\"")}); err == nil {
		t.Error("a listener without passwords is open because others have them")
	}
}
