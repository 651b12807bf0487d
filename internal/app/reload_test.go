package app

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"midge/internal/config"
	"midge/internal/packet"
)

// TestReload changes the configuration of a running broker: what can change holds at once
// for the listeners that it is for, what can't stays, and nothing of one with a fault
// is taken.
func TestReload(t *testing.T) {
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) {
			base := []string{"engine", engine, "durability", "none", "listener.a.address", "127.0.0.1:0", "listener.b.address", "127.0.0.1:0"}
			b, _ := started(t, base...)
			reload := func(settings ...string) error {
				return b.Reload(func() (*config.Loaded, error) {
					var given []config.Given
					all := append(append([]string(nil), base...), settings...)
					for i := 0; i < len(all); i += 2 {
						given = append(given, config.Given{Flag: "--set", Key: all[i], Values: []string{all[i+1]}})
					}
					return config.Load(config.Sources{Flags: given})
				})
			}
			offered := func(listener int) (packetSize uint32) {
				t.Helper()
				c, err := net.Dial("tcp", b.listening[listener].addr.String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				if _, err := c.Write((&packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}).Append(nil)); err != nil {
					t.Fatal(err)
				}
				answer := make([]byte, 512)
				n, err := c.Read(answer)
				if err != nil {
					t.Fatal(err)
				}
				_, body, _, err := packet.Split(answer[:n], 512)
				if err != nil {
					t.Fatal(err)
				}
				var ack packet.Connack
				if err := ack.Decode(packet.V5, answer[0], body); err != nil {
					t.Fatal(err)
				}
				return ack.Properties.MaximumPacketSize
			}
			want := func(step string, a, b uint32) {
				t.Helper()
				if gotA, gotB := offered(0), offered(1); gotA != a || gotB != b {
					t.Errorf("%s: packets of %d and %d bytes, want %d and %d", step, gotA, gotB, a, b)
				}
			}
			want("at first", 1<<20, 1<<20) // who is answered, is by a broker that has started
			if err := reload("limits.packet_size", "5000", "listener.b.limits.packet_size", "3000", "threads", "1"); err != nil {
				t.Fatal(err)
			}
			want("after a change", 5000, 3000)
			if err := reload("limits.packet_size", "6000", "sys.interval", "soon"); err == nil || !strings.Contains(err.Error(), "sys.interval") {
				t.Errorf("with a fault: %v", err)
			}
			want("after a fault", 5000, 3000)
			if b.reloads.inForce.Threads != 0 {
				t.Errorf("threads = %d, which needs a restart", b.reloads.inForce.Threads)
			}
			if err := b.Reload(func() (*config.Loaded, error) { return nil, errors.New("no such file") }); err == nil {
				t.Error("a file that is not there is no fault")
			}
			if err := reload(); err != nil {
				t.Fatal(err)
			}
			want("as at first", 1<<20, 1<<20)
			if n := b.core.Counters(); n.Reloads != 2 || n.ReloadsFailed != 2 {
				t.Errorf("counted %d and %d failed, want 2 and 2", n.Reloads, n.ReloadsFailed)
			}
		})
	}
}
