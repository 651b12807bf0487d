//go:build integration && linux

package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"midge/internal/packet"
)

// TestFullDisk fills the disk under a real broker: what must last is refused,
// the rest goes on, and so does all of it once there is room again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("midge-test", dir, "tmpfs", 0, "size=64m"); err != nil {
		if os.Geteuid() != 0 {
			t.Skipf("NOT TESTED: a full disk; only root may mount a small file system: %v", err)
		}
		t.Fatalf("mount a small file system at %s, as root: %v", dir, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	p := serveIn(t, dir)
	t.Cleanup(p.Kill) // before the file system goes
	away := connect(t, p, packet.V5, "away", lasting(3600))
	away.subscribe("full", 1)
	away.conn.Close()
	a := connect(t, p, packet.V5, "a", nil)
	a.exchange(packet.Publish{Topic: []byte("full"), Payload: []byte("0")})

	room := filepath.Join(dir, "room")
	fill(t, room)
	const messages = 60
	padding := strings.Repeat(" ", 100<<10)
	go func() { // the broker may stop reading meanwhile
		for n := 1; n <= messages; n++ {
			m := packet.Publish{QoS: 1, ID: packet.ID(n), Topic: []byte("full"), Payload: []byte(strconv.Itoa(n) + padding)}
			if _, err := a.conn.Write(m.Append(nil, a.v)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	other := newPair(t, p, "p")
	for end := time.Now().Add(patience); !strings.Contains(p.Log(), "disk full"); {
		if other.served(10); time.Now().After(end) {
			t.Fatalf("the broker does not notice that the disk is full\n%s", p.Log())
		}
	}
	b := connect(t, p, packet.V5, "b", nil)
	if code := b.until(packet.QuotaExceeded); code != packet.QuotaExceeded {
		t.Fatalf("PUBACK with %v on a full disk, want %v\n%s", code, packet.QuotaExceeded, p.Log())
	}
	other.served(10)

	if err := os.Remove(room); err != nil {
		t.Fatal(err)
	}
	if code := b.until(packet.Success); code != packet.Success {
		t.Fatalf("PUBACK with %v although there is room again\n%s", code, p.Log())
	}
	want := []string{"0"}
	for n := 1; n <= messages; n++ {
		var ack packet.Ack
		a.expect(packet.PUBACK, func(first byte, body []byte) error { return ack.Decode(a.v, first, body) })
		if ack.Code == packet.Success {
			want = append(want, strconv.Itoa(n))
		}
	}
	p.Kill()

	p = serveIn(t, dir)
	t.Cleanup(p.Kill)
	away = connect(t, p, packet.V5, "away", lasting(3600))
	for len(want) > 0 {
		_, payload := away.receive()
		if got := strings.TrimSpace(payload); got == want[0] {
			want = want[1:]
		} else if got != "b" {
			t.Fatalf("message %s, want %s", got, want[0])
		}
	}
}

// until publishes to the topic full until the answer has a code, for a while,
// and returns the last.
func (c *client) until(code packet.ReasonCode) (got packet.ReasonCode) {
	c.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		m := packet.Publish{QoS: 1, ID: c.nextID(), Topic: []byte("full"), Payload: []byte("b")}
		c.send(m.Append(nil, c.v))
		var ack packet.Ack
		c.expect(packet.PUBACK, func(first byte, body []byte) error { return ack.Decode(c.v, first, body) })
		if got = ack.Code; got == code {
			break
		}
	}
	return got
}

// fill writes a file until the disk is full.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for range 1 << 20 {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("%s has 4 GiB, and the disk is not full", name)
}
