//go:build integration && unix

package e2e

import (
	"io"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
)

// TestBans bans clients of a broker that runs, and kills it: they are still banned. An address
// that is banned gets no answer, and one that comes too often neither.
func TestBans(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		args := []string{"--set", engine, "--set", "limits.connect_rate_per_ip=1", "--set", "limits.connect_burst=1h", "--set", "limits.message_rate=100"}
		p := serveIn(t, dir, args...)
		bad := connect(t, p, packet.V5, "bad", nil)
		ban := func(args ...string) {
			t.Helper()
			if status, _, errs := midge(t, dir, nil, append([]string{"ban"}, args...)...); status != 0 {
				t.Fatal(errs)
			}
		}
		ban("add", "client", "bad", "--for", "24h", "--reason", "it is a test")
		ban("add", "address", "127.0.0.9")
		bad.conn.SetReadDeadline(time.Now().Add(patience))
		if rest, _ := io.ReadAll(bad.conn); !strings.Contains(string(rest), "it is a test") {
			t.Errorf("it is ended with %q", rest)
		}
		port := p.portOf("tcp")
		refused := func(address, id, want string) {
			t.Helper()
			c := from(t, address, port)
			defer c.Close()
			c.Write((&packet.Connect{Version: packet.V311, ClientID: []byte(id), CleanStart: true}).Append(nil))
			c.SetReadDeadline(time.Now().Add(patience))
			if got, _ := io.ReadAll(c); string(got) != want {
				t.Errorf("%s from %s gets %q, want %q", id, address, got, want)
			}
		}
		for range 2 {
			refused("127.0.0.1", "bad", "\x20\x02\x00\x05")
			refused("127.0.0.9", "good", "")
			connect(t, p, packet.V5, "good", nil)
			p.Kill()
			p = serveIn(t, dir, args...)
			port = p.portOf("tcp")
		}
		ban("remove", "client", "bad")
		p.Kill()
		p = serveIn(t, dir, append(args, "--set", "limits.connect_burst=3s")...)
		port = p.portOf("tcp")
		connect(t, p, packet.V5, "bad", nil).conn.Close()
		for range 30 { // at one a second it is far too fast
			c := from(t, "127.0.0.5", port)
			c.Close()
		}
		refused("127.0.0.5", "good", "")
		connect(t, p, packet.V5, "good", nil)
	})
}
