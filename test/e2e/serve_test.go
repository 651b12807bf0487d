//go:build integration && unix

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"midge/internal/packet"
)

// engines are the engines that this system has, by their setting.
func engines() []string {
	if runtime.GOOS == "linux" {
		return []string{"epoll", "goroutine"}
	}
	return []string{"goroutine"}
}

// eachEngine runs a test once on each engine.
func eachEngine(t *testing.T, f func(t *testing.T, engine string)) {
	for _, engine := range engines() {
		t.Run(engine, func(t *testing.T) { f(t, "engine="+engine) })
	}
}

func TestBanner(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		p := serve(t, "--memory", "--listen", "127.0.0.1:0", "--set", engine, "--set", "limits.packet_size=2MiB")
		_, port, err := net.SplitHostPort(p.Addr)
		if err != nil || port == "0" {
			t.Errorf("address %q, %v; want the real port", p.Addr, err)
		}
		for _, want := range []string{
			"midge ", runtime.Version(), "tcp://127.0.0.1:" + port,
			strings.TrimPrefix(engine, "engine="), "shards", "all state is in memory", "limit of open files", "2MiB",
		} {
			if !strings.Contains(p.Banner(), want) {
				t.Errorf("no %q in\n%s", want, p.Banner())
			}
		}
		if n := strings.Count(p.Banner(), "tcp://127.0.0.1:"); n != 2 {
			t.Errorf("%d listeners, want 2", n)
		}
		if lines := strings.Count(p.Banner(), "\n"); lines > 24 {
			t.Errorf("%d lines, more than a screen", lines)
		}
	})
}

func TestBannerWarnsOfTheFileLimit(t *testing.T) {
	p := serve(t, "--set", "limits.connections=10000000")
	p.signal(syscall.SIGTERM)
	p.wait(patience) // now all of the log is here
	if want := "limits.connections is 10,000,000, but "; !strings.Contains(p.Log(), want) {
		t.Errorf("no %q in\n%s", want, p.Log())
	}
}

func TestVersion(t *testing.T) {
	status, out, _ := midge(t, t.TempDir(), nil, "version")
	if status != 0 || !strings.HasPrefix(out, "midge ") || !strings.Contains(out, runtime.Version()+", "+runtime.GOOS+"/"+runtime.GOARCH) {
		t.Errorf("status %d, %q", status, out)
	}
}

func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "midge.toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := func(env []string, status int, stdout, stderr string) {
		t.Helper()
		s, out, errs := midge(t, dir, env, "config", "check")
		if s != status || out != stdout || errs != stderr {
			t.Errorf("status %d\n%s%s\nwant status %d\n%s%s", s, out, errs, status, stdout, stderr)
		}
	}
	check(nil, 0, "no file (midge.toml does not exist here): no faults\nall settings have their defaults\n", "")
	write("threads = 1\n[limits]\nconections = 5\npacket_size = \"1GiB\"\n")
	check(nil, 1, "", "midge: midge.toml:3: limits.conections: unknown key; did you mean limits.connections?\n"+
		"midge: midge.toml:4: limits.packet_size: 1GiB is outside 50B to 268435460B\n")
	write("threads = 1\n")
	check([]string{"MIDGE_LOG_LEVEL=debug"}, 0, "midge.toml: no faults\nthreads = 1  # midge.toml:1\nlog.level = \"debug\"  # MIDGE_LOG_LEVEL\n", "")

	t.Run("serve refuses the same", func(t *testing.T) {
		write("treads = 1\n")
		s, _, errs := midge(t, dir, nil, "serve")
		if want := "midge: midge.toml:1: treads: unknown key; did you mean threads?\n"; s != 1 || errs != want {
			t.Errorf("status %d, %q; want 1, %q", s, errs, want)
		}
	})
}

func TestExitStatuses(t *testing.T) {
	for _, tt := range []struct {
		args   string
		status int
		stderr string // a part of it
	}{
		{"--help", 0, ""},
		{"config reference", 0, ""},
		{"config show", 0, ""},
		{"config check missing.toml", 1, "read configuration: open missing.toml: no such file or directory"},
		{"serve --threads many", 1, `--threads: threads: "many" is not a whole number`},
		{"serve --set threads", 2, "--set threads: write key=value"},
		{"serve --no-such-flag", 2, "unknown flag: --no-such-flag"},
		{"serv", 2, "serve"},
		{"serve extra", 2, "extra"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			status, _, stderr := midge(t, t.TempDir(), nil, strings.Fields(tt.args)...)
			if status != tt.status || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("status %d, %q; want %d, %q", status, stderr, tt.status, tt.stderr)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	eachEngine(t, func(t *testing.T, engine string) {
		status, _, stderr := midge(t, t.TempDir(), nil, "serve", "--listen", l.Addr().String(), "--set", engine)
		want := fmt.Sprintf("listen on tcp://%s: another process", l.Addr())
		if status != 1 || !strings.Contains(stderr, want) {
			t.Errorf("status %d, %q; want 1, %q", status, stderr, want)
		}
	})
}

// TestStop proves that SIGTERM ends the broker with status 0 within 5 seconds,
// and that clients are told where their version can be (MQTT 5.0 section 4.13).
func TestStop(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		eachEngine(t, func(t *testing.T, engine string) {
			p := serve(t, "--set", engine)
			v5 := connect(t, p, packet.V5, "five", nil)
			v311 := connect(t, p, packet.V311, "three", nil)
			mute := dial(t, p) // has sent nothing
			p.signal(s)
			var d packet.Disconnect
			v5.expect(packet.DISCONNECT, func(first byte, body []byte) error { return d.Decode(packet.V5, first, body) })
			if d.Code != packet.ServerShuttingDown {
				t.Errorf("DISCONNECT %v, want %v", d.Code, packet.ServerShuttingDown)
			}
			v5.expectEnd()
			v311.expectEnd()
			if status := p.wait(patience); status != 0 {
				t.Errorf("status %d\n%s", status, p.Log())
			}
			if _, err := mute.Read(make([]byte, 1)); !ended(err) {
				t.Errorf("a connection without CONNECT: %v", err)
			}
			if conn, err := net.Dial("tcp", p.Addr); err == nil {
				conn.Close()
				t.Error("the port is still open")
			}
		})
	}
}

// TestStopWithClientThatDoesNotRead proves that a client can't delay the end.
func TestStopWithClientThatDoesNotRead(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		p := serve(t, "--set", engine)
		stuck(t, p)
		p.signal(syscall.SIGTERM)
		if status := p.wait(patience); status != 0 {
			t.Errorf("status %d\n%s", status, p.Log())
		}
	})
}

// TestSecondSignal proves that a second signal ends the broker at once. A
// client that does not read makes sure that the first one takes its time, and
// the broker is stopped meanwhile so that it meets both together.
func TestSecondSignal(t *testing.T) {
	p := serve(t)
	stuck(t, p)
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCONT} {
		p.signal(s)
	}
	if status := p.wait(patience); status != 1 || !strings.Contains(p.Log(), "second signal") {
		t.Errorf("status %d, want 1\n%s", status, p.Log())
	}
}

// TestFootprint holds the resident memory of a broker with two clients: what it has
// allocated, and all of it with the pages of the program, which the system can take
// back. When it has been quiet for some seconds, the pages that only the start has used
// are gone. The size of the program is for test/parts.
func TestFootprint(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		for _, durability := range []string{"none", "commit"} {
			p := serve(t, "--set", engine, "--set", "durability="+durability)
			pair := newPair(t, p, "p")
			pair.served(10)
			own, all := p.memory("RssAnon"), p.rss()
			t.Logf("durability = %s: %d bytes of resident memory, %d allocated", durability, all, own)
			if own > 6e6 || all > 24e6 {
				t.Errorf("durability = %s: %d bytes of resident memory, %d allocated; more than 24 and 6 MB", durability, all, own)
			}
			most := 10_000_000
			if durability == "commit" {
				most = 12_000_000
			}
			for end := time.Now().Add(time.Minute); p.rss() > most && time.Now().Before(end); {
				time.Sleep(100 * time.Millisecond)
			}
			quiet := p.rss()
			pair.served(10)
			if all = p.rss(); quiet > most || all > most {
				t.Errorf("durability = %s: %d bytes of resident memory when it was quiet, %d after some messages; more than %d", durability, quiet, all, most)
			}
			t.Logf("durability = %s: %d bytes of resident memory when it was quiet, %d after some messages", durability, quiet, all)
		}
	})
}
