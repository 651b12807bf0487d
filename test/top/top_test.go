//go:build integration && unix

package top

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"midge/internal/program"
	"midge/test/process"
	"midge/test/terminal"
)

// binary is the path of the midge under test.
var binary string

func TestMain(m *testing.M) { os.Exit(process.Main(m, &binary)) }

// serve runs Midge on a port, 0 for any, and returns the one it has.
func serve(t *testing.T, port string, more ...string) (*process.Process, string) {
	t.Helper()
	args := append([]string{"serve", "--listen", "127.0.0.1:" + port, "--set", "sys.interval=1s"}, more...)
	p := process.Serve(t, exec.Command(binary, args...))
	_, listening, err := net.SplitHostPort(p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return p, listening
}

// TestTerminal is a session of a user, over a restart of the broker.
func TestTerminal(t *testing.T) {
	dir := t.TempDir()
	port, err := program.Port() // one that is still free when the broker comes back
	if err != nil {
		t.Fatal(err)
	}
	broker, _ := serve(t, port, "--data-dir", dir)
	w := terminal.Open(t, 100, 30, "NO_COLOR=1 "+binary+" top -h 127.0.0.1 -p "+port)
	w.Shows("midge top  mqtt://127.0.0.1:"+port+"  midge ", "rates over ", "connected 1 ", "messages out", "in all 0", "status ok", "q quit")

	// Messages that somebody publishes show as a rate.
	publisher := exec.Command(binary, "pub", "-h", "127.0.0.1", "-p", port, "-t", "t", "-m", "x", "--repeat", "100000", "--repeat-delay", "0.01")
	if err := publisher.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = publisher.Process.Kill()
		_ = publisher.Wait()
	})
	rate := regexp.MustCompile(`messages in +([1-9][0-9]*)(\.\d)? .*[▂▃▄▅▆▇█]`)
	w.Until("a rate of messages", rate.MatchString)
	w.Shows("connected 2 ")

	// A paused page stays as it is; the help, and other sizes.
	w.Keys("p")
	w.Shows("paused")
	w.Keys("p")
	w.Until("not paused", func(s string) bool { return !strings.Contains(s, "paused") })
	w.Keys("?")
	w.Shows("this help, and back")
	w.Keys("?")
	w.Keys("+")
	w.Shows("no more often than every 2 s", "connected 2 ")
	w.Resize(60, 12)
	w.Shows("more lines: the terminal is too low", "q quit")
	w.Resize(120, 40)
	w.Shows("15 min", "status ok")

	// The page survives its broker.
	broker.Kill()
	w.Shows("no connection: ")
	serve(t, port, "--data-dir", dir)
	w.Until("connected again", func(s string) bool {
		return !strings.Contains(s, "no connection") && strings.Contains(s, "rates over ")
	})
	w.Keys("q")
	w.Shows("STATUS 0")
}

// TestCtrlC proves that ctrl-c leaves the terminal as it was, with status 0.
func TestCtrlC(t *testing.T) {
	_, port := serve(t, "0", "--memory")
	w := terminal.Open(t, 80, 24, "echo before; "+binary+" top -p "+port+" -h 127.0.0.1")
	w.Shows("connected 1")
	w.Keys("C-c")
	if screen := w.Shows("before", "STATUS 0"); strings.Contains(screen, "connected") {
		t.Errorf("the page is still there:\n%s", screen)
	}
}

// TestNoFigures proves that errors reach the terminal.
func TestNoFigures(t *testing.T) {
	_, port := serve(t, "0", "--memory", "--set", "sys.interval=0s")
	w := terminal.Open(t, 200, 24, binary+" top --wait 100ms -h 127.0.0.1 -p "+port)
	w.Shows("midge: mqtt://127.0.0.1:"+port+": nothing under $SYS/broker/ within 100ms", "STATUS 1")
}

// TestPipe proves that lines go into a pipe, until SIGTERM, with status 0.
func TestPipe(t *testing.T) {
	_, port := serve(t, "0", "--memory")
	cmd := exec.Command(binary, "top", "-h", "127.0.0.1", "-p", port)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	defer guard.Stop()
	var text []byte
	for buf := make([]byte, 4096); bytes.Count(text, []byte("\n")) < 2 || !bytes.Contains(text, []byte(" clients=1 ")); {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("%v after\n%s", err, text)
		}
		text = append(text, buf[:n]...)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v", err)
	}
	for line := range strings.Lines(string(text)) {
		// The first ones may be from before the broker has counted this client.
		if !strings.HasPrefix(line, "time=") || !strings.Contains(line, " clients=") {
			t.Errorf("%s", line)
		}
	}
}

// TestMosquitto proves that the page works with another broker's topics.
func TestMosquitto(t *testing.T) {
	_, ports := process.Mosquitto(t, "listener {port} 127.0.0.1\nallow_anonymous true\nsys_interval 1\n")
	w := terminal.Open(t, 100, 30, binary+" top -h 127.0.0.1 -p "+ports["port"])
	screen := w.Shows("mosquitto version ", "rates over ", "connected 1 ", "messages out", "messages kept")
	if strings.Contains(screen, "\ndisk ") {
		t.Errorf("Mosquitto tells nothing of its disk:\n%s", screen)
	}
	w.Keys("q")
	w.Shows("STATUS 0")
}
