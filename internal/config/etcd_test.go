package config

import (
	"fmt"
	"strings"
	"testing"

	"midge/internal/settings"
)

// inEtcd are keys below /midge/.
func inEtcd(namesAndValues ...string) Etcd {
	e := Etcd{Root: "/midge/"}
	for i := 0; i < len(namesAndValues); i += 2 {
		e.Keys = append(e.Keys, EtcdKey{e.Root + namesAndValues[i], namesAndValues[i+1]})
	}
	return e
}

// TestEtcdBetweenFileAndEnvironment proves where etcd stands among the sources.
func TestEtcdBetweenFileAndEnvironment(t *testing.T) {
	src := Sources{FileName: "midge.toml"}
	for _, step := range []struct {
		add    func()
		want   int
		origin string
	}{
		{func() {}, 0, "default"},
		{func() { src.File = []byte("threads = 1\n") }, 1, "midge.toml:1"},
		{func() { src.More = []File{{"conf.d/a.toml", []byte("threads = 2\n")}} }, 2, "conf.d/a.toml:1"},
		{func() { src.Etcd = inEtcd("threads", "3") }, 3, "etcd /midge/threads"},
		{func() { src.Environment = []string{"MIDGE_THREADS=4"} }, 4, "MIDGE_THREADS"},
		{func() { src.Flags = []Given{{"--threads", "threads", []string{"5"}}} }, 5, "--threads"},
	} {
		step.add()
		l, err := Load(src)
		if err != nil {
			t.Fatal(err)
		}
		if o := l.Origin("threads").String(); l.Threads != step.want || o != step.origin {
			t.Errorf("threads = %d from %s, want %d from %s", l.Threads, o, step.want, step.origin)
		}
	}
}

// TestEtcdValues reads each kind of value, and settings of listeners.
func TestEtcdValues(t *testing.T) {
	l, err := Load(Sources{
		File: []byte("[[listener]]\nname = \"wan\"\naddress = \"127.0.0.1:1\"\n"),
		Etcd: inEtcd("", "a folder", "limits/packet_size", "2MiB\n", "sys/interval", "3s", "strict/client_ids", "true",
			"tls/ca", "a.pem, b.pem", "log/level", "debug", "limits/connections", " 7\r\n",
			"listener/wan/limits/packet_size", "4MiB", "listener/inner/address", "unix:///tmp/a.sock"),
	})
	if err != nil || len(l.Warnings) > 0 {
		t.Fatal(err, l)
	}
	got := fmt.Sprintln(l.Limits.PacketSize, l.Sys.Interval, l.Strict.ClientIDs, l.TLS.CA, l.Log.Level, l.Limits.Connections)
	if want := "2MiB 3s true [a.pem b.pem] debug 7\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	wan, inner := l.listener("wan"), l.listener("inner")
	if wan == nil || inner == nil || wan.Limits.PacketSize != 4<<20 || inner.Listener.Address != "unix:///tmp/a.sock" {
		t.Fatalf("listeners: %+v, %+v", wan, inner)
	}
	if o := wan.origins["limits.packet_size"].String(); o != "etcd /midge/listener/wan/limits/packet_size" {
		t.Errorf("the origin is %s", o)
	}
}

// TestEtcdFaults proves that what is wrong names its key, and that a key which sets nothing
// is a warning.
func TestEtcdFaults(t *testing.T) {
	for _, tt := range []struct{ key, value, fault, warning string }{
		{"limits/connections", "many", `etcd /midge/limits/connections: limits.connections: "many" is not a whole number`, ""},
		{"limits/connections", "", `etcd /midge/limits/connections: limits.connections: "" is not a whole number`, ""},
		{"limits/connections", "-1", "etcd /midge/limits/connections: limits.connections: -1 is outside", ""},
		{"limits/packet_size", strings.Repeat("9", 1<<20), "the value has 1048576 bytes; 16384 at most may be", ""},
		{"limits/packet_size", "\xff\xfe", "the value is no text", ""},
		{"data_dir", "a\x00b", "the value is no text", ""},
		{"config/etcd/prefix", "/other/", "etcd /midge/config/etcd/prefix: config.etcd.prefix: where etcd is can't be said in etcd", ""},
		{"tls", "yes", `etcd /midge/tls: "yes" is neither true nor false`, ""},
		{"listener/a/address", "nowhere", "etcd /midge/listener/a/address: listener.a.address: nowhere: write host:port", ""},
		{"listener/a/address", "\xff", "etcd /midge/listener/a/address: listener.a.address: the value is no text", ""},
		{"listener/a/name", "b", "the name stands in the key already", ""},
		{"limits/conections", "1", "", `etcd "/midge/limits/conections" sets nothing; did you mean /midge/limits/connections?`},
		{"limits.connections", "1", "", `etcd "/midge/limits.connections" sets nothing; did you mean /midge/limits/connections?`},
		{"limits", "1", "", `etcd "/midge/limits" sets nothing`},
		{"\x1b[31m", "1", "", `etcd "/midge/\x1b[31m" sets nothing`},
		{"listener/a/adress", "1", "", `etcd "/midge/listener/a/adress" sets nothing`},
		{"listener/a b/address", "127.0.0.1:1", "", `etcd "/midge/listener/a b/address" sets nothing`},
		{"listener//address", "127.0.0.1:1", "", `etcd "/midge/listener//address" sets nothing`},
		{"listener", "1", "", `etcd "/midge/listener" sets nothing`},
		{strings.Repeat("long", 1<<18), "1", "", "longlong"},
	} {
		l, err := Load(Sources{Etcd: inEtcd(tt.key, tt.value)})
		if tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault) || len(err.Error()) > 1000) {
			t.Errorf("%.50s = %.50q: %.1000v; want %s", tt.key, tt.value, err, tt.fault)
		}
		if tt.warning != "" && (err != nil || len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], tt.warning) || len(l.Warnings[0]) > 1000) {
			t.Errorf("%.50s = %.50q: %v, %.1000v; want a warning %s", tt.key, tt.value, err, l, tt.warning)
		}
	}
	var many []string
	for i := range 10_000 {
		many = append(many, fmt.Sprint("unknown", i), "1")
	}
	if l, err := Load(Sources{Etcd: inEtcd(many...)}); err != nil || len(l.Warnings) != maxUnknown+1 || !strings.Contains(l.Warnings[maxUnknown], "9990 more keys of etcd below /midge/ set nothing") {
		t.Errorf("10,000 unknown keys: %v, %v", err, l)
	}
}

// TestEtcdLegacy proves that the keys of the broker before this one work as they are.
func TestEtcdLegacy(t *testing.T) {
	theirs := func(more ...string) Etcd {
		e := inEtcd(append([]string{"tls", "true", "cacert", "/etc/iot/ca.pem", "serverCert", "/etc/iot/server.pem", "serverKey", "/etc/iot/key.pem"}, more...)...)
		for i := range e.Keys {
			e.Keys[i].Name = "/iot/mqtt/" + strings.TrimPrefix(e.Keys[i].Name, "/midge/")
		}
		e.Root = "/iot/mqtt/"
		return e
	}
	for _, tt := range []struct {
		name   string
		src    Sources
		listen string
		origin string
		client string
	}{
		{"default", Sources{Etcd: theirs()}, "tls://127.0.0.1:1883", "default and etcd /iot/mqtt/tls", "optional"},
		{"in etcd", Sources{Etcd: theirs("listen", "127.0.0.1:8883,unix:///a", "tls/client_certificates", "require")}, "tls://127.0.0.1:8883 unix:///a", "etcd /iot/mqtt/listen and etcd /iot/mqtt/tls", "require"},
		{"in a file", Sources{FileName: "f", File: []byte("listen = [\"tcp://127.0.0.1:1\", \"ws://127.0.0.1:2\"]"), Etcd: theirs()}, "tls://127.0.0.1:1 ws://127.0.0.1:2", "f:1 and etcd /iot/mqtt/tls", "optional"},
		{"by a flag", Sources{Etcd: theirs(), Flags: []Given{{"--listen", "listen", []string{"localhost:1"}}}}, "tls://localhost:1", "--listen and etcd /iot/mqtt/tls", "optional"},
		{"tls already", Sources{Etcd: theirs(), Flags: []Given{{"--listen", "listen", []string{"tls://127.0.0.1:1"}}}}, "tls://127.0.0.1:1", "--listen", "optional"},
		{"off", Sources{Etcd: theirs("tls", "false")}, "tls://127.0.0.1:1883", "default and etcd /iot/mqtt/tls", "optional"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "off" {
				tt.src.Etcd.Keys = tt.src.Etcd.Keys[1:] // the one that says true
				tt.listen, tt.origin = "tcp://127.0.0.1:1883", "default"
			}
			l, err := Load(tt.src)
			if err != nil || len(l.Warnings) > 0 {
				t.Fatal(err, l)
			}
			if got := strings.Join(l.Listen, " "); got != tt.listen || l.Origin("listen").String() != tt.origin {
				t.Errorf("listen = %s from %v; want %s from %s", got, l.Origin("listen"), tt.listen, tt.origin)
			}
			one := &l.Listeners[0].TLS
			got := fmt.Sprintln(one.CA, one.Certificate, one.Key, one.ClientCertificates)
			if want := "[/etc/iot/ca.pem] [/etc/iot/server.pem] [/etc/iot/key.pem] " + tt.client + "\n"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if o := l.Origin("tls.key").String(); o != "etcd /iot/mqtt/serverKey" {
				t.Errorf("the key is from %s", o)
			}
		})
	}
	own := "[[listener]]\naddress = \"127.0.0.1:1\"\n"
	if l, err := Load(Sources{File: []byte(own), Etcd: theirs()}); err != nil || len(l.Listeners) != 1 || l.Listeners[0].Addresses[0].Scheme != "tcp" {
		t.Errorf("a listener with a table of its own: %v, %+v", err, l)
	}
	if l, err := Load(Sources{Etcd: theirs("tls/key", "/other.pem")}); err != nil || l.TLS.Key[0] != "/other.pem" {
		t.Errorf("both names of a setting: %v", err)
	}
}

// TestEtcdSettings proves that the other sources say where etcd is, and that the password is
// not shown.
func TestEtcdSettings(t *testing.T) {
	file := "[config.etcd]\nendpoints = [\"http://127.0.0.1:2379\"]\nprefix = \"/iot/mqtt\"\nuser = \"ann\"\n"
	src := Sources{FileName: "midge.toml", File: []byte(file), Environment: []string{"MIDGE_CONFIG_ETCD_PASSWORD=swordfish", "MIDGE_CONFIG_ETCD_OPTIONAL=true"}}
	if e := EtcdSettings(src); len(e.Endpoints) != 1 || e.Root() != "/iot/mqtt/" || e.Password != "swordfish" || !e.Optional {
		t.Errorf("got %+v", e)
	}
	l, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range l.Values() {
		if strings.Contains(v.TOML, "swordfish") {
			t.Errorf("%s shows the password", v.Key)
		}
	}
	src.Environment[0] = "MIDGE_CONFIG_ETCD_PASSWORD=sardine"
	next, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	if _, changes := l.Follow(next); len(changes) != 1 || strings.Contains(changes[0].String(), "sardine") || !changes[0].Restart {
		t.Errorf("a change of the password: %v", changes)
	}
	for _, tt := range []struct{ key, value, want string }{
		{"endpoints", "127.0.0.1:2379", "is no URL of etcd"},
		{"endpoints", "http://ann:swordfish@127.0.0.1:2379", "config.etcd.password_file instead"},
		{"endpoints", "http://ann:swordfish@[", "config.etcd.password_file instead"},
		{"endpoints", "http://127.0.0.1:2379/v3", "nothing may stand behind the port"},
		{"prefix", "midge", "does not begin with a slash"},
		{"prefix", "", "does not begin with a slash"},
		{"user", "ann", "there is no password"},
		{"password", "swordfish", "everybody on this machine can read the command line"},
		{"password_file", "p", "config.etcd.user, whose password it is, is not set"},
		{"key", "k", "config.etcd.certificate, whose key it is, is not set"},
	} {
		_, err := Load(Sources{Flags: []Given{{"--set", "config.etcd." + tt.key, []string{tt.value}}}})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "swordfish") {
			t.Errorf("%s = %s: %v; want %s", tt.key, tt.value, err, tt.want)
		}
	}
	if e := EtcdSettings(Sources{File: []byte(file + "threads = \"many\"\n")}); len(e.Endpoints) > 0 {
		t.Error("a file with faults has etcd asked")
	}
	if def := settings.Default(); def.Etcd.Root() != "/midge/" {
		t.Error("the default prefix")
	}
}
