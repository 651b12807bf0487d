//go:build integration && unix

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/test/process"
)

// TestReloadUnderLoad adds a listener, takes it away and has passwords be asked for, with signals by the dozen,
// while 100 clients publish through a listener that stays. They lose nothing and stay connected; who
// comes then is refused.
func TestReloadUnderLoad(t *testing.T) {
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) {
			dir := t.TempDir()
			const plain = "listen = [\"127.0.0.1:0\"]\n"
			configure := func(text string) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(dir, "new"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "midge.toml")); err != nil {
					t.Fatal(err)
				}
			}
			configure(plain)
			cmd := exec.Command(binary, "serve", "--memory", "--config", "midge.toml", "--set", "engine="+engine, "--set", "log.connections=false")
			cmd.Dir = dir
			p := &broker{process.Serve(t, cmd), t}
			said := func(pattern string) []string {
				t.Helper()
				for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
					if m := regexp.MustCompile(pattern).FindStringSubmatch(p.Log()); m != nil {
						return m
					}
					if time.Now().After(end) {
						t.Fatalf("the log does not have %s\n%s", pattern, p.Log())
					}
				}
			}
			const clients, messages = 100, 30
			sub := connect(t, p, packet.V5, "sub", nil)
			sub.subscribe("load", 0)
			var publishing sync.WaitGroup
			for i := range clients {
				c := connect(t, p, packet.V5, fmt.Sprint("pub", i), nil)
				publishing.Go(func() {
					for range messages {
						c.publish("load", []byte("x"), 1)
						time.Sleep(time.Millisecond) // that is the load; nothing depends on it
					}
				})
			}
			for range 100 {
				p.signal(syscall.SIGHUP)
			}
			configure(plain + "[[listener]]\nname = \"second\"\naddress = \"127.0.0.1:0\"\n")
			p.signal(syscall.SIGHUP)
			second := said(`"listener opened" address=tcp://(\S+) listener=second`)[1]
			c, err := net.Dial("tcp", second)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			configure(plain)
			p.signal(syscall.SIGHUP)
			said(`"listener closed" address=tcp://` + regexp.QuoteMeta(second) + ` listener=second connections_that_stay=1`)
			if c, err := net.Dial("tcp", second); err == nil {
				c.Close()
				t.Error("it listens still")
			}
			passwords := exec.Command(binary, "passwd", "-c", "passwords", "alice")
			passwords.Dir, passwords.Stdin = dir, strings.NewReader("right\n")
			if out, err := passwords.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			configure(plain + "[auth]\npassword_file = \"passwords\"\n")
			p.signal(syscall.SIGHUP)
			said(`auth.password_file: .* is now .*passwords`)
			for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) { // the line comes before
				late := &client{t: t, conn: dial(t, p), v: packet.V5}
				late.send((&packet.Connect{Version: packet.V5, ClientID: []byte("late"), CleanStart: true}).Append(nil))
				_, body, err := late.next()
				if err != nil {
					t.Fatal(err)
				}
				if packet.ReasonCode(body[1]) == packet.NotAuthorized {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("is let in: % x", body)
				}
			}
			publishing.Wait()
			for range clients * messages {
				if topic, _ := sub.receive(); topic != "load" {
					t.Fatal(topic)
				}
			}
		})
	}
}
