package cli

import (
	"maps"
	"strings"
	"testing"

	"midge/internal/cli/command"
)

// TestIsMosquitto tells files of Mosquitto from those of this broker.
func TestIsMosquitto(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       bool
	}{
		{"mosquitto.conf", "# x\n\n  listener 1883\n", true},
		{"mosquitto.conf", "", true},
		{"mosquitto.conf", "# all by default\n", true},
		{"broker", "listener 1883\r\n", true},
		{"mosquitto.conf.bak", "auth_opt_x a = b\n", true},
		{"midge.toml", "listener 1883\n", false},
		{"midge.conf", "threads = 1\n", false},
		{"midge.conf", "threads=1\n", false},
		{"midge.conf", "# x\n[limits]\n", false},
		{"midge.conf", "limits.packet_size\t= 1\n", false},
		{"midge", "", false},
		{"", "", false},
	} {
		if got := isMosquitto(tt.name, []byte(tt.text)); got != tt.want {
			t.Errorf("%s, %q: %v", tt.name, tt.text, got)
		}
	}
}

// TestMosquittoFile has commands read a file of Mosquitto.
func TestMosquittoFile(t *testing.T) {
	files := map[string]string{
		"good.conf":    "listener 1899 127.0.0.1\nallow_anonymous true\nmax_queued_messages 7\npid_file /run/m.pid\n",
		"closed.conf":  "listener 1899\nplugin /p.so\n",
		"wrong.conf":   "listener 1899\nallow_anonymous true\nlistenr 1\n",
		"missing.conf": "include_dir nowhere\n",
	}
	const pid = "good.conf:4: pid_file /run/m.pid: no such file is written"
	for _, tt := range []struct {
		args           string
		status         int
		stdout, stderr string // the beginnings
	}{
		{"config check good.conf", command.Done, "warning: " + pid, ""},
		{"config show good.conf", command.Done, "listen = [\"tcp://127.0.0.1:1899\"]  # good.conf:1\n", ""},
		{"config check closed.conf", command.Failed, "", "midge: closed.conf:2: plugin /p.so: "},
		{"serve -c closed.conf", command.Failed, "", "midge: closed.conf:2: plugin /p.so: "},
		{"serve --config wrong.conf", command.Failed, "", "midge: wrong.conf:3: listenr 1: Mosquitto has no such option\n"},
		{"serve -c good.conf --require-all", command.Failed, "", "midge: " + pid},
		{"serve -c missing.conf", command.Failed, "", "midge: missing.conf:1: include_dir nowhere: open nowhere: "},
		{"serve -c nowhere.conf", command.Failed, "", "midge: read configuration: open nowhere.conf: "},
		{"config convert good.conf", command.Done, "# Made from good.conf.", "warning: " + pid},
		{"config convert --require-all good.conf", command.Failed, "# Made from good.conf.", "warning: " + pid},
		{"config convert closed.conf", command.Done, "# Made from closed.conf.", "warning: closed.conf:2: "},
		{"config convert wrong.conf", command.Failed, "# Made from wrong.conf.", "error: wrong.conf:3: listenr 1: "},
		{"config convert nowhere.conf", command.Failed, "", "midge: read configuration: open nowhere.conf: "},
		{"config convert", command.Misuse, "", "midge: which file is to be converted?\n"},
		{"store import --without [ good.conf", command.Misuse, "", "midge: --without [: syntax error in pattern\n"},
		{"store import", command.Misuse, "", "midge: which file is to be imported?\n"},
		{"store import --config good.conf good.conf", command.Failed, "", "midge: good.conf: at byte 0: this is no persistence file of Mosquitto; nothing is imported\n"},
		{"store stats --config good.conf", command.Failed, "", "midge: midge-data is no data directory of a broker"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			status, stdout, stderr := run(t, files, nil, strings.Fields(tt.args)...)
			if status != tt.status || !strings.HasPrefix(stdout, tt.stdout) || !strings.HasPrefix(stderr, tt.stderr) {
				t.Errorf("status %d\n%s%s\nwant status %d\n%s%s", status, stdout, stderr, tt.status, tt.stdout, tt.stderr)
			}
		})
	}
}

// TestServeMosquitto starts a broker on such a file. What it lacks is in the log.
func TestServeMosquitto(t *testing.T) {
	status, _, stderr := run(t, map[string]string{"m.conf": "log_dest file /tmp/x\n"}, nil, "serve", "-c", "m.conf", "--listen", "127.0.0.1:0")
	if status != command.Done || !strings.Contains(stderr, "level=WARN msg=configuration detail=\"m.conf:1: log_dest file /tmp/x: ") {
		t.Errorf("status %d\n%s", status, stderr)
	}
}

// TestServeForgetsNothing warns of a broker that would begin anew although
// Mosquitto has kept something.
func TestServeForgetsNothing(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		files      map[string]string
		want       bool
	}{
		{"nothing taken over", "persistence true\n", map[string]string{"mosquitto.db": "x"}, true},
		{"under another name", "persistence true\npersistence_file m.db\n", map[string]string{"m.db": "x"}, true},
		{"there is no such file", "persistence true\n", nil, false},
		{"taken over", "persistence true\n", map[string]string{"mosquitto.db": "x", "midge-data": ""}, false},
		{"nothing is kept", "persistence false\n", map[string]string{"mosquitto.db": "x"}, false},
	} {
		files := map[string]string{"m.conf": tt.text}
		maps.Copy(files, tt.files)
		status, out, stderr := run(t, files, nil, "config", "check", "m.conf")
		if got := strings.Contains(out, "db has what Mosquitto has kept, and midge-data does not exist; 'midge store import --config m.conf m"); status != command.Done || got != tt.want {
			t.Errorf("%s: status %d, warned %v\n%s%s", tt.name, status, got, out, stderr)
		}
	}
}

// TestConvertedIsTheSame proves that a file and what is made of it mean the same.
func TestConvertedIsTheSame(t *testing.T) {
	files := map[string]string{"m.conf": "listener 1899 127.0.0.1\nallow_anonymous true\nmax_queued_messages 7\nsys_interval 3\npersistence true\n"}
	_, made, _ := run(t, files, nil, "config", "convert", "m.conf")
	_, direct, _ := run(t, files, nil, "config", "check", "m.conf")
	_, through, stderr := run(t, map[string]string{"midge.toml": made}, nil, "config", "check")
	values := func(out string) (all string) {
		for line := range strings.Lines(out) {
			value, _, _ := strings.Cut(line, "  # ")
			all += value + "\n"
		}
		_, all, _ = strings.Cut(all, "\n")
		return all
	}
	if a, b := values(direct), strings.TrimPrefix(values(through), "\n"); strings.TrimSpace(a) != strings.TrimSpace(b) || !strings.Contains(a, "stored_messages = 7") {
		t.Errorf("%s\nand through the file\n%s%s", a, b, stderr)
	}
}
