package cli

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"midge/internal/cli/command"
	"midge/internal/config"
)

// run runs a command in an empty directory, in which files are put before.
func run(t *testing.T, files map[string]string, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a broker that starts against expectation ends at once
	var out, errs strings.Builder
	status = Run(ctx, command.World{Args: args, Env: env, Stdout: &out, Stderr: &errs})
	return status, out.String(), errs.String()
}

func TestConfigCheck(t *testing.T) {
	const bad = "[limits]\npacket_sise = 1\n\n[log]\nlevel = \"loud\"\n"
	const badFaults = "midge: %:2: limits.packet_sise: unknown key; did you mean limits.packet_size?\n" +
		"midge: %:5: log.level: \"loud\" is none of debug, info, warn, error\n"
	for _, tt := range []struct {
		name           string
		files          map[string]string
		env            []string
		args           string
		status         int
		stdout, stderr string
	}{
		{"no file", nil, nil, "", command.Done, "no file (midge.toml does not exist here): no faults\nall settings have their defaults\n", ""},
		{"default file", map[string]string{"midge.toml": "threads = 3"}, nil, "", command.Done, "midge.toml: no faults\nthreads = 3  # midge.toml:1\n", ""},
		{"named file", map[string]string{"midge.toml": "x", "a.toml": "threads = 3"}, nil, "a.toml", command.Done, "a.toml: no faults\nthreads = 3  # a.toml:1\n", ""},
		{"file of the environment", map[string]string{"midge.toml": "x", "a.toml": "threads = 3"}, []string{"MIDGE_CONFIG=a.toml"}, "", command.Done, "a.toml: no faults\nthreads = 3  # a.toml:1\n", ""},
		{"missing file", nil, nil, "a.toml", command.Failed, "", "midge: read configuration: open a.toml: no such file or directory\n"},
		{"faults", map[string]string{"midge.toml": bad}, nil, "", command.Failed, "", strings.ReplaceAll(badFaults, "%", "midge.toml")},
		{"faults of the environment", nil, []string{"MIDGE_THREADS=x"}, "", command.Failed, "", "midge: MIDGE_THREADS: threads: \"x\" is not a whole number\n"},
		{"warning", nil, []string{"MIDGE_THREDS=1"}, "", command.Done, "warning: environment variable MIDGE_THREDS sets nothing; did you mean MIDGE_THREADS?\nno file (midge.toml does not exist here): no faults\nall settings have their defaults\n", ""},
		{"two files", nil, nil, "a b", command.Misuse, "", "midge: \"b\" is too much: write midge config check [FILE] [flags]\nRun 'midge config check --help' for its flags and examples.\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "missing file" && runtime.GOOS == "windows" {
				t.Skip("the system words this differently")
			}
			status, stdout, stderr := run(t, tt.files, tt.env, append([]string{"config", "check"}, strings.Fields(tt.args)...)...)
			if status != tt.status || stdout != tt.stdout || stderr != tt.stderr {
				t.Errorf("status %d\n%s%s\nwant status %d\n%s%s", status, stdout, stderr, tt.status, tt.stdout, tt.stderr)
			}
		})
	}
}

// TestConfigShow proves that what it prints is a file with the same meaning.
func TestConfigShow(t *testing.T) {
	env := []string{"MIDGE_LISTEN=127.0.0.1:1,[::1]:2", "MIDGE_SYS_INTERVAL=3s"}
	status, out, stderr := run(t, map[string]string{"midge.toml": "[limits]\npacket_size = 4096\n"}, env, "config", "show")
	if status != command.Done || stderr != "" {
		t.Fatalf("status %d, %s", status, stderr)
	}
	for _, want := range []string{"listen = [\"127.0.0.1:1\", \"[::1]:2\"]  # MIDGE_LISTEN\n", "\n[limits]\n", "\npacket_size = \"4KiB\"  # midge.toml:2\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	_, again, stderr := run(t, map[string]string{"midge.toml": out}, nil, "config", "check")
	if want := 5; stderr != "" || strings.Count(again, "\n") != want-1 {
		t.Errorf("the output as a file: %s%s\nwant three settings that differ", again, stderr)
	}
}

// TestConfigShowListeners proves the same of listeners with settings of their own.
func TestConfigShowListeners(t *testing.T) {
	file := "[[listener]]\nname = \"plant\"\naddress = \":1884\"\n[limits]\nconnections = 7\n"
	env := []string{"MIDGE_LISTENER_PLANT_ALLOW_ANONYMOUS=true", "MIDGE_LISTENER_OFFICE_ADDRESS=[::1]:1885"}
	_, out, stderr := run(t, map[string]string{"midge.toml": file}, env, "config", "show")
	const want = `
[[listener]]
name = "plant"  # midge.toml:2
address = ":1884"  # midge.toml:3
allow_anonymous = true  # MIDGE_LISTENER_PLANT_ALLOW_ANONYMOUS

[[listener]]
name = "office"  # MIDGE_LISTENER_OFFICE_ADDRESS
address = "[::1]:1885"  # MIDGE_LISTENER_OFFICE_ADDRESS
`
	if !strings.HasSuffix(out, want) || !strings.Contains(out, "\nlisten = []  # midge.toml:1\n") && !strings.HasPrefix(out, "listen = []  # midge.toml:1\n") {
		t.Errorf("%s%s\nwant at its end\n%s", out, stderr, want)
	}
	_, again, stderr := run(t, map[string]string{"midge.toml": out}, nil, "config", "check")
	for _, want := range []string{"listener.plant.allow_anonymous = true  # ", "listener.office.address = \"[::1]:1885\"  # "} {
		if stderr != "" || !strings.Contains(again, want) {
			t.Errorf("the output as a file: %s%s\nwant %s", again, stderr, want)
		}
	}
}

func TestConfigReference(t *testing.T) {
	if status, out, _ := run(t, nil, nil, "config", "reference"); status != command.Done || out != config.Reference() {
		t.Errorf("status %d, %d bytes", status, len(out))
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range []string{"serve extra", "serve --no-such-flag", "serve --set threads", "serv", "version extra", "config chek", "config check a b"} {
		t.Run(args, func(t *testing.T) {
			status, stdout, stderr := run(t, nil, nil, strings.Fields(args)...)
			if args == "config chek" && !strings.Contains(stderr, "did you mean check?") {
				t.Errorf("no suggestion: %s", stderr)
			}
			if status != command.Misuse || stdout != "" || !strings.HasPrefix(stderr, "midge: ") {
				t.Errorf("status %d, %q, %q", status, stdout, stderr)
			}
		})
	}
}

// TestServeFaults proves that serve refuses what it can't do, before it does
// anything.
func TestServeFaults(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for _, tt := range []struct{ name, args, stderr string }{
		{"flag", "--threads x", "midge: --threads: threads: \"x\" is not a whole number\n"},
		{"all faults", "--log-level loud --listen nowhere", "midge: --log-level: log.level: \"loud\" is none of debug, info, warn, error\nmidge: --listen: listen: nowhere: write host:port, such as 127.0.0.1:1883, [::1]:1883 or localhost:1883\n"},
		{"set", "--set limits.packet_size=1", "midge: --set: limits.packet_size: 1B is outside 50B to 268435460B\n"},
		{"file", "--config missing.toml", "midge: read configuration: "},
		{"port in use", "--listen " + taken, "midge: listen on tcp://" + taken + ": another process, perhaps another broker, uses port "},
		{"data directory", "--listen 127.0.0.1:0 --data-dir " + filepath.Join("a", "b"), "midge: data directory " + filepath.Join("a", "b") + ": it does not exist, and there is no directory a to make it in\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := run(t, nil, nil, append([]string{"serve"}, strings.Fields(tt.args)...)...)
			if status != command.Failed || stdout != "" || !strings.HasPrefix(stderr, tt.stderr) {
				t.Errorf("status %d, %s\n%s\nwant %s", status, stdout, stderr, tt.stderr)
			}
		})
	}
}

// TestServe proves that serve prints the banner, and that a cancelled context
// ends it with status 0.
func TestServe(t *testing.T) {
	status, stdout, stderr := run(t, nil, nil, "serve", "--memory", "--listen", "127.0.0.1:0", "--data-dir", "new", "--set", "log.banner=always")
	if status != command.Done {
		t.Errorf("status %d\n%s", status, stderr)
	}
	for _, want := range []string{"midge ", "listening", "tcp://127.0.0.1:", "all state is in memory", "new (not used"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

// TestServeTellsMachines proves that the log has one record of the start, in
// either format, and that nothing is printed for people where none read it.
func TestServeTellsMachines(t *testing.T) {
	for format, want := range map[string][]string{
		"text": {"level=INFO msg=started version=", " listen=tcp://127.0.0.1:", " durability=none "},
		"json": {`"msg":"started","version":"`, `"listen":"tcp://127.0.0.1:`, `"durability":"none"`},
	} {
		status, stdout, stderr := run(t, nil, nil, "serve", "--memory", "--listen", "127.0.0.1:0", "--set", "log.format="+format)
		if status != command.Done || stdout != "" {
			t.Errorf("%s: status %d, printed %q", format, status, stdout)
		}
		for _, part := range want {
			if n := strings.Count(stderr, part); n != 1 {
				t.Errorf("%s: %d times %q in\n%s", format, n, part, stderr)
			}
		}
	}
}

// TestHelpHasExamples proves that the help of each command shows how to use it.
func TestHelpHasExamples(t *testing.T) {
	for _, args := range []string{"", "serve", "version", "config", "config check", "config show", "config reference"} {
		status, stdout, _ := run(t, nil, nil, append(strings.Fields(args), "--help")...)
		if status != command.Done || !strings.Contains(stdout, "\nExamples:\n  midge "+args) {
			t.Errorf("midge %s --help: status %d\n%s", args, status, stdout)
		}
	}
}
