//go:build integration && linux

// Package parts tests what a build leaves out: that the parts which are there
// work, that those which aren't say so, what each binary takes, and that a broker
// pays nothing for parts that it doesn't use.
package parts

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"midge/test/process"
)

// patience is for what hangs; nothing here takes a tenth of it.
const patience = 10 * time.Minute

// Budgets of the binary, in bytes: with all parts that are to come, and with none.
const (
	fullBytes = 48_000_000
	coreBytes = 18_000_000
)

// commands are the commands of each part.
var commands = map[string][]string{"bench": {"bench"}, "clients": {"pub", "sub", "shell", "top"}}

// build has make build midge with these parts, and returns its path.
func build(t *testing.T, parts string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "midge")
	if status, out := makeBuild(t, parts, binary); status != 0 {
		t.Fatalf("make build PARTS=%q: status %d\n%s", parts, status, out)
	}
	return binary
}

func makeBuild(t *testing.T, parts, binary string) (status int, out string) {
	t.Helper()
	cmd := exec.Command("make", "-s", "build", "BIN="+binary, "PARTS="+parts)
	cmd.Dir = "../.."
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { // of the make that runs the tests
		return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") || strings.HasPrefix(v, "CGO_ENABLED")
	})
	status, stdout, stderr := process.Run(t, patience, cmd)
	return status, stdout + stderr
}

// TestParts builds with all parts, with none, and with one each.
func TestParts(t *testing.T) {
	for _, tt := range []struct {
		parts, without string
		limit          int64
	}{
		{"", "", fullBytes},
		{"core", ", without bench, clients, websocket, etcd, hook, ldap, acme", coreBytes},
		{"core bench", ", without clients, websocket, etcd, hook, ldap, acme", fullBytes},
		{"clients", ", without bench, websocket, etcd, hook, ldap, acme", fullBytes},
	} {
		t.Run("PARTS="+tt.parts, func(t *testing.T) {
			binary := build(t, tt.parts)
			info, err := os.Stat(binary)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d bytes", info.Size())
			if info.Size() > tt.limit {
				t.Errorf("%d bytes, at most %d may be: see docs/dependencies.md", info.Size(), tt.limit)
			}
			run := func(args ...string) (status int, stdout, stderr string) {
				return process.Run(t, patience, exec.Command(binary, args...))
			}
			if _, out, _ := run("version"); !strings.HasSuffix(out, "/amd64"+tt.without+"\n") && !strings.HasSuffix(out, "/arm64"+tt.without+"\n") {
				t.Errorf("midge version: %s", out)
			}
			_, help, _ := run("--help")
			for part, names := range commands {
				for _, name := range names {
					there := !strings.Contains(tt.without, part)
					status, stdout, stderr := run(name, "--help")
					if there && (status != 0 || !strings.Contains(stdout, "Usage:\n  midge "+name)) {
						t.Errorf("midge %s --help: status %d, %s%s", name, status, stdout, stderr)
					}
					want := fmt.Sprintf("midge: %s is not in this binary, which was built without the part %s; 'make build' builds all parts\n", name, part)
					if !there && (status != 1 || stdout != "" || stderr != want) {
						t.Errorf("midge %s --help: status %d, %s%s\nwant %s", name, status, stdout, stderr, want)
					}
					if strings.Contains(help, "\n  "+name+" ") != there {
						t.Errorf("midge --help and the command %s:\n%s", name, help)
					}
				}
			}
			if status, out, errs := run("config", "check"); status != 0 {
				t.Errorf("midge config check: status %d, %s%s", status, out, errs)
			}
		})
	}
	if status, out := makeBuild(t, "core nosuch", filepath.Join(t.TempDir(), "midge")); status == 0 || !strings.Contains(out, "PARTS has nosuch; there are: core bench clients websocket etcd hook ldap acme") {
		t.Errorf("make build PARTS='core nosuch': status %d, %s", status, out)
	}
}

// TestBrokerPaysForNoPart proves that what a binary has beside the core costs a
// broker nothing before it is asked for: our packages allocate nothing at the
// start, those of others that can't do without stay within a budget, and no
// goroutine runs that the core has not.
func TestBrokerPaysForNoPart(t *testing.T) {
	// What libraries of the parts allocate when they are linked, in bytes: tables of
	// tcell for terminals and character sets, 120,000, frames that gobwas/ws has ready,
	// 54,000, of x/crypto/acme, 13,000, of go-ldap, 9,000, and of net/http and Paho.
	const foreignBytes = 235_000
	// Errors and the like.
	const ownBytes = 1_000
	core, full := serve(t, build(t, "core")), serve(t, build(t, ""))
	foreign := 0
	for name, bytes := range full.initial {
		own := strings.HasPrefix(name, "midge/")
		if own && bytes > ownBytes {
			t.Errorf("package %s allocates %d bytes when it is initialised, at most %d may be", name, bytes, ownBytes)
		}
		if _, inCore := core.initial[name]; !inCore && !own {
			foreign += bytes
		}
	}
	t.Logf("packages of others in parts allocate %d bytes when they are initialised", foreign)
	if foreign > foreignBytes {
		t.Errorf("packages of others in parts allocate %d bytes when they are initialised, at most %d may be", foreign, foreignBytes)
	}
	if len(full.initial) <= len(core.initial) || len(core.goroutines) == 0 {
		t.Errorf("%d packages in the core and %d in all, goroutines %q: these can't be all", len(core.initial), len(full.initial), core.goroutines)
	}
	for _, g := range full.goroutines {
		if !slices.Contains(core.goroutines, g) {
			t.Errorf("a goroutine runs that %s has started, and that the core has not", g)
		}
	}
}

// started is what a broker did before its first client.
type started struct {
	initial    map[string]int // bytes that packages allocated when they were initialised
	goroutines []string       // functions that started those that run
}

// serve starts a broker, and asks it for its goroutines.
func serve(t *testing.T, binary string) (s started) {
	t.Helper()
	cmd := exec.Command(binary, "serve", "--memory", "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	p := process.Serve(t, cmd)
	conn, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"))
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil { // CONNACK: all that a start begins runs
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	log := p.Log()
	s.initial = map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^init (\S+) @.*clock, (\d+) bytes`).FindAllStringSubmatch(log, -1) {
		s.initial[m[1]], _ = strconv.Atoi(m[2])
	}
	for _, m := range regexp.MustCompile(`(?m)^created by (\S+) in goroutine`).FindAllStringSubmatch(log, -1) {
		s.goroutines = append(s.goroutines, m[1])
	}
	return s
}
