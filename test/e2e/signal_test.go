//go:build integration && unix

package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"midge/internal/packet"
)

// TestSignalsOutlived sends a busy broker the signals that must not end it.
func TestSignalsOutlived(t *testing.T) {
	p := serve(t, "--memory")
	pr := newPair(t, p, "signals")
	for _, s := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGALRM, syscall.SIGXFSZ, syscall.SIGIO, syscall.SIGWINCH,
	} {
		p.signal(s)
		pr.served(3)
	}
	p.signal(syscall.SIGTERM)
	if status := p.wait(time.Minute); status != 0 {
		t.Errorf("status %d after SIGTERM", status)
	}
	for name, times := range map[string]int{"user defined signal 1": 1, "user defined signal 2": 1} {
		if n := strings.Count(p.Log(), fmt.Sprintf("signal=%q", name)) + strings.Count(p.Log(), "signal="+name+"\n"); n != times {
			t.Errorf("the log has %d lines about %q, want %d\n%s", n, name, times, p.Log())
		}
	}
	if n := strings.Count(p.Log(), "reloaded: "); n != 2 {
		t.Errorf("SIGHUP made it read its configuration %d times, want 2\n%s", n, p.Log())
	}
}

// TestSignalsThatEnd sends what must end a broker, and reads the status.
func TestSignalsThatEnd(t *testing.T) {
	for s, want := range map[syscall.Signal]int{syscall.SIGTERM: 0, syscall.SIGINT: 0, syscall.SIGQUIT: 2} {
		t.Run(s.String(), func(t *testing.T) {
			p := serve(t)
			newPair(t, p, "end").served(3)
			p.signal(s)
			if status := p.wait(time.Minute); status != want {
				t.Errorf("status %d, want %d", status, want)
			}
			if s == syscall.SIGQUIT && strings.Count(p.Log(), "goroutine ") < 5 {
				t.Errorf("no dump of the goroutines in the log:\n%s", p.Log())
			}
		})
	}
}

// TestNobodyReadsTheLog takes the readers of a broker's output away: one goes,
// and one stays and reads nothing. Neither may end or stop it.
func TestNobodyReadsTheLog(t *testing.T) {
	for _, gone := range []bool{true, false} {
		t.Run(fmt.Sprintf("gone %v", gone), func(t *testing.T) {
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			cmd := exec.Command(binary, "serve", "--memory", "--listen", "127.0.0.1:0", "--log-level", "debug")
			cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), writer, writer
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			writer.Close()
			address := ""
			for lines := bufio.NewScanner(reader); address == "" && lines.Scan(); {
				if _, rest, ok := strings.Cut(lines.Text(), "127.0.0.1:"); ok {
					address = "127.0.0.1:" + rest[:strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })]
				}
			}
			if gone {
				reader.Close()
			}
			for i := range 2000 { // far more lines than a pipe holds
				if i%500 == 0 {
					cmd.Process.Signal(syscall.SIGHUP)
				}
				c, err := knock(address, fmt.Sprint("c", i))
				if err != nil {
					t.Fatalf("client %d: %v", i, err)
				}
				c.Close()
			}
			cmd.Process.Signal(syscall.SIGTERM)
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Error("the broker does not end")
			}
		})
	}
}

// TestSubEndsWithItsReader: a command in a pipe ends when nobody reads it, and
// so it does when its terminal hangs up.
func TestSubEndsWithItsReader(t *testing.T) {
	for _, hangup := range []bool{false, true} {
		t.Run(fmt.Sprintf("hangup %v", hangup), func(t *testing.T) {
			p := serve(t, "--memory")
			publisher := connect(t, p, packet.V5, "publisher", nil)
			m := packet.Publish{QoS: 1, ID: publisher.nextID(), Retain: true, Topic: []byte("t"), Payload: []byte("x")}
			publisher.exchange(m)
			// Whoever runs the tests may ignore SIGHUP, as nohup does, and so would sub.
			cmd := exec.Command("env", "--default-signal=HUP", binary, "sub", "-h", "127.0.0.1", "-p", strings.TrimPrefix(p.Addr, "127.0.0.1:"), "-t", "t")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			if hangup {
				cmd.Process.Signal(syscall.SIGHUP)
			} else {
				out.Close()
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			for i := 0; ; i++ {
				publisher.publish("t", []byte("x"), 1)
				select {
				case <-ended:
					return
				case <-time.After(10 * time.Millisecond):
				}
				if i == 1000 {
					t.Fatal("midge sub goes on although nobody reads it")
				}
			}
		})
	}
}
