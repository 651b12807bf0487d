//go:build integration && unix

package shell

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"midge/test/process"
)

// patience is how long a test waits for what must happen. A test that needs it
// has failed.
const patience = 30 * time.Second

// binary is the path of the midge under test.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "midge-shell-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary, err = process.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// start starts a program that prints, and returns the first match of pattern
// in its output. The program is killed at the end of the test.
func start(t *testing.T, pattern string, name string, args ...string) []string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = t.TempDir()
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; test/install-tools installs what the tests need", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // killed
		in.Close()
	})
	found := make(chan []string, 1)
	lines := make(chan string, 100)
	go func() {
		text, expression := bufio.NewScanner(out), regexp.MustCompile(pattern)
		for text.Scan() {
			if match := expression.FindStringSubmatch(text.Text()); match != nil {
				select {
				case found <- match:
				default:
				}
			}
			select {
			case lines <- text.Text():
			default: // the test has seen enough
			}
		}
	}()
	select {
	case match := <-found:
		return match
	case <-time.After(patience):
	}
	for range len(lines) {
		t.Log(<-lines)
	}
	t.Fatalf("%s printed no %s within %v", name, pattern, patience)
	return nil
}

// midgeBroker starts Midge and returns its address.
func midgeBroker(t *testing.T) string {
	match := start(t, `listening\s+tcp://(\S+)`, binary, "serve", "--memory", "--listen", "127.0.0.1:0")
	return "mqtt://" + match[1]
}

// mosquittoBroker starts Debian's Mosquitto with more lines of configuration,
// in which %PORT stands for the port of the listener; it returns the port.
func mosquittoBroker(t *testing.T, lines ...string) (port string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(free.Addr().String())
	free.Close()
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	// As root, Mosquitto would become a user who can't read the test's files.
	text := "user root\nlistener " + port + " 127.0.0.1\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, `mosquitto version \S+ running`, "mosquitto", "-v", "-c", file)
	return port
}

// run runs midge shell to its end.
func run(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"shell"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}
