//go:build integration && unix

package process

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"midge/internal/program"
)

// TestMosquittoTakesAnotherPort proves that a port that is taken between the
// choice and the start harms nobody, over TCP and WebSocket.
func TestMosquittoTakesAnotherPort(t *testing.T) {
	for name, config := range map[string]string{
		"TCP":       "listener {one} 127.0.0.1\nlistener {two} 127.0.0.1\n",
		"WebSocket": "listener {one} 127.0.0.1\nlistener {two} 127.0.0.1\nprotocol websockets\n",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			_, taken, _ := net.SplitHostPort(l.Addr().String())
			asked := 0
			p, ports := mosquitto(t, config, func() (string, error) {
				if asked++; asked == 2 {
					return taken, nil
				}
				return program.Port()
			})
			if asked != 4 || len(ports) != 2 || ports["two"] == taken {
				t.Errorf("asked for %d ports, and has %v where %s is taken", asked, ports, taken)
			}
			for _, port := range ports {
				conn, err := net.Dial("tcp", "127.0.0.1:"+port)
				if err != nil {
					t.Error(err)
					continue
				}
				conn.Close()
			}
			p.Kill()
			for _, port := range ports {
				if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
					conn.Close()
					t.Errorf("port %s is somebody else's", port)
				}
			}
		})
	}
}

// TestListening proves what a broker must print to be taken for one that listens,
// and that the errors show what it has printed instead.
func TestListening(t *testing.T) {
	for _, tt := range []struct{ name, script, addr, want string }{
		{"a banner", `echo midge; echo listening tcp://127.0.0.1:7 and more; echo; exec sleep 60`, "127.0.0.1:7", ""},
		{"a banner and the end", `printf 'listening tcp://127.0.0.1:7\n\n'`, "127.0.0.1:7", ""},
		{"the end", `echo oh >&2; exit 3`, "", "sh ended: exit status 3\noh\n"},
		{"half a banner", `echo listening tcp://127.0.0.1:7`, "", "sh ended: exit status 0\n"},
		{"no address", `echo hello; echo`, "", "no address in the banner\nhello\n\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, exec.Command("sh", "-c", tt.script))
			err := p.Listening(patience)
			if p.Addr != tt.addr || (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
				t.Errorf("address %q, %v", p.Addr, err)
			}
		})
	}
	p := start(t, exec.Command("sh", "-c", "echo slow >&2; exec sleep 60"))
	if err := p.until(patience, func() bool { return p.Log() != "" }); err != nil {
		t.Fatal(err)
	}
	if err := p.Listening(time.Nanosecond); err == nil || !strings.Contains(err.Error(), "does not listen within 1ns\nslow\n") {
		t.Errorf("a silent one: %v", err)
	}
}
