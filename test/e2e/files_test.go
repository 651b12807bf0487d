//go:build integration && linux

package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/test/process"
)

// TestFilesUsedUp opens 500 connections that never send CONNECT to a broker that
// may have 400 files, again and again, while messages that must last are
// published and tables are written. The store never fails: what is refused
// meanwhile is refused, and when the strangers are gone all goes on, and what was
// acknowledged comes. So does it after a crash.
func TestFilesUsedUp(t *testing.T) {
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) {
			dir := t.TempDir()
			p := serveIn(t, dir, "--set", "engine="+engine)
			limit(t, p, 400) // the broker counted with more: descriptors do run out
			t.Cleanup(func() { p.Kill() })
			away := connect(t, p, packet.V5, "away", lasting(3600))
			away.subscribe("full", 1)
			away.conn.Close()
			c := connect(t, p, packet.V5, "publisher", nil)

			var strangers sync.WaitGroup
			gone := make(chan struct{})
			for range 4 {
				strangers.Go(func() { stand(p.Addr, 125, gone) })
			}
			acked, refused := 0, 0
			padding := strings.Repeat("0123456789abcdef", 200<<10/16)
			for n := 0; n < 300; n++ {
				m := packet.Publish{QoS: 1, ID: c.nextID(), Topic: []byte("full"), Payload: fmt.Appendf(nil, "%d %s", n, padding)}
				c.send(m.Append(nil, c.v))
				var ack packet.Ack
				c.expect(packet.PUBACK, func(first byte, body []byte) error { return ack.Decode(c.v, first, body) })
				switch ack.Code {
				case packet.Success:
					acked++
				case packet.QuotaExceeded:
					refused++
				default:
					t.Fatalf("PUBACK with %v", ack.Code)
				}
			}
			close(gone)
			strangers.Wait()
			if code := c.until(packet.Success); code != packet.Success {
				t.Fatalf("PUBACK with %v although the strangers are gone\n%s", code, p.Log())
			}
			t.Logf("%d messages acknowledged, %d refused", acked, refused)
			if log := p.Log(); strings.Contains(log, "store failed") || strings.Contains(log, "nothing can be made durable") {
				t.Fatalf("the store failed\n%s", log)
			}
			p.Kill()
			p = serveIn(t, dir, "--set", "engine="+engine)
			away = connect(t, p, packet.V5, "away", func(c *packet.Connect) {
				lasting(3600)(c)
				c.Properties.ReceiveMaximum = 4
				c.Properties.Set(packet.PropReceiveMaximum)
			})
			for range acked {
				m := away.message()
				away.answer(packet.PUBACK, m.ID)
			}
		})
	}
}

// limit lowers the number of files that a process may have open.
func limit(t *testing.T, p *broker, files int) {
	t.Helper()
	out, err := exec.Command("prlimit", "--pid", fmt.Sprint(p.Cmd.Process.Pid), fmt.Sprintf("--nofile=%d:%d", files, files)).CombinedOutput()
	if err != nil {
		t.Fatalf("prlimit: %v\n%s", err, out)
	}
}

// stand opens connections, says nothing, and opens another one for each that is
// closed, until gone is closed.
func stand(addr string, n int, gone chan struct{}) {
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
		}
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			continue
		}
		if held = append(held, c); len(held) > n {
			held[0].Close()
			held = held[1:]
		}
	}
}

// serveLimited is serve for a broker that may have so many files open.
func serveLimited(t *testing.T, files int, args ...string) *broker {
	t.Helper()
	args = append([]string{fmt.Sprintf("--nofile=%d:%d", files, files), binary, "serve", "--listen", "127.0.0.1:0"}, args...)
	return &broker{process.Serve(t, exec.Command("prlimit", args...)), t}
}

// TestFewFiles starts a broker that may have 300 files: banner, warning and what
// is enforced say the same, and everything works for as many clients as that.
func TestFewFiles(t *testing.T) {
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) {
			dir := t.TempDir()
			p := serveLimited(t, 300, "--data-dir", dir, "--set", "engine="+engine, "--set", "limits.connections=1000", "--threads", "2", "--set", "shards=8")
			t.Cleanup(p.Kill)
			if !strings.Contains(p.Banner(), "connections  92 at most (limit of open files: 300)") {
				t.Errorf("the banner says\n%s", p.Banner())
			}
			if !strings.Contains(p.Log(), "leaves room for 92, which is the limit in force") {
				t.Errorf("the log says\n%s", p.Log())
			}
			var all []*client
			for i := range 92 {
				c := connect(t, p, packet.V5, fmt.Sprint("client ", i), lasting(60))
				if i > 0 {
					c.subscribe("full", 1)
				}
				all = append(all, c)
			}
			for range 200 { // refused, and lingering
				conn, err := net.Dial("tcp", p.Addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
			}
			if code := all[0].until(packet.Success); code != packet.Success {
				t.Errorf("PUBACK with %v\n%s", code, p.Log())
			}
			if log := p.Log(); strings.Contains(log, "store failed") {
				t.Errorf("the store failed\n%s", log)
			}
		})
	}
}
