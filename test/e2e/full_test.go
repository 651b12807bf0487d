//go:build integration && linux

package e2e

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"midge/internal/packet"
)

// TestFullDisk fills the disk under a real broker: what must last is refused,
// the rest goes on, and so does all of it once there is room again.
func TestFullDisk(t *testing.T) {
	dir := partition(t, 64)
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

// TestStartWhileFull starts the broker again and again on a disk that counts as full
// from the first moment on: it knows that, and refuses what must last.
func TestStartWhileFull(t *testing.T) {
	dir := partition(t, 64)
	p := serveIn(t, dir)
	t.Cleanup(func() { p.Kill() }) // before the file system goes
	away := connect(t, p, packet.V5, "away", lasting(3600))
	away.subscribe("full", 1)
	away.conn.Close()
	p.signal(syscall.SIGTERM)
	p.wait(patience)

	ballast, err := filepath.Glob(filepath.Join(dir, "*", "ballast-*"))
	if err != nil || len(ballast) == 0 {
		t.Fatalf("no ballast in %s, %v", dir, err)
	}
	for _, name := range ballast {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	room := filepath.Join(dir, "room")
	fill(t, room)
	info, err := os.Stat(room)
	if err != nil {
		t.Fatal(err)
	}
	const left = 500 << 10 // enough for a start
	if err := os.Truncate(room, info.Size()-left); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		p = serveIn(t, dir)
		b := connect(t, p, packet.V5, "b", nil)
		if code := b.until(packet.QuotaExceeded); code != packet.QuotaExceeded {
			t.Fatalf("PUBACK with %v on a full disk, want %v\n%s", code, packet.QuotaExceeded, p.Log())
		}
		p.Kill()
	}
	p = serveIn(t, dir)
	if err := os.Remove(room); err != nil {
		t.Fatal(err)
	}
	b := connect(t, p, packet.V5, "b", nil)
	if code := b.until(packet.Success); code != packet.Success {
		t.Fatalf("PUBACK with %v although there is room again\n%s", code, p.Log())
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

// partition mounts a small file system, of some MiB.
func partition(t *testing.T, size int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("midge-test", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", size)); err != nil {
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
	return dir
}

// TestFilledPartition lets a broker fill a small partition with messages by
// itself, from one publisher or from many at a time, and takes them all: it
// recovers, without a restart or after one on the full disk, and what was
// acknowledged has come.
func TestFilledPartition(t *testing.T) {
	for _, test := range []struct {
		durability string
		publishers int
		restart    syscall.Signal // by this; 0: none
	}{
		{"commit", 1, 0},
		{"commit", 8, 0},
		{"interval", 8, 0},
		{"commit", 1, syscall.SIGKILL},
		{"commit", 8, syscall.SIGKILL},
		{"commit", 1, syscall.SIGTERM},
		{"interval", 8, syscall.SIGTERM},
	} {
		t.Run(fmt.Sprintf("%s, %d publishers, %v", test.durability, test.publishers, test.restart), func(t *testing.T) {
			dir := partition(t, 24)
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			p := serveIn(t, dir, "--set", "durability="+test.durability)
			t.Cleanup(func() { p.Kill() }) // before the file system goes
			away := connect(t, p, packet.V5, "away", lasting(3600))
			away.subscribe("full", 1)
			away.conn.Close()

			acked := make([]map[string]bool, test.publishers)
			var wg sync.WaitGroup
			for i := range test.publishers {
				c := connect(t, p, packet.V5, fmt.Sprint("publisher ", i), nil)
				acked[i] = map[string]bool{}
				wg.Go(func() { c.fillPartition(rand.New(rand.NewPCG(seed, uint64(i))), acked[i]) })
			}
			wg.Wait()
			want := map[string]bool{}
			for _, m := range acked {
				maps.Copy(want, m)
			}
			t.Logf("%d messages fit", len(want))
			if len(want) < 20 {
				t.Fatalf("only %d messages of 50 kB fit on a partition of 24 MiB\n%s", len(want), p.Log())
			}
			if test.restart != 0 {
				p.signal(test.restart)
				p.wait(patience)
				p = serveIn(t, dir, "--set", "durability="+test.durability)
			}
			away = connect(t, p, packet.V5, "away", lasting(3600))
			for len(want) > 0 {
				m := away.message()
				delete(want, string(m.Payload[:32]))
				away.answer(packet.PUBACK, m.ID)
			}
			b := connect(t, p, packet.V5, "b", nil)
			if code := b.until(packet.Success); code != packet.Success {
				t.Fatalf("PUBACK with %v although everything was taken\n%s", code, p.Log())
			}
			if strings.Contains(p.Log(), "store failed") {
				t.Errorf("the store failed\n%s", p.Log())
			}
		})
	}
}

// fillPartition publishes messages of 50 kB, twenty at a time, until some are
// refused. It takes note of those that are acknowledged.
func (c *client) fillPartition(r *rand.Rand, acked map[string]bool) {
	payload := make([]byte, 50_000)
	for refused := false; !refused; {
		sent := map[packet.ID]string{}
		for range 20 {
			for i := range payload {
				payload[i] = byte(r.Uint32())
			}
			copy(payload, fmt.Sprintf("%032x", r.Uint64()))
			m := packet.Publish{QoS: 1, ID: c.nextID(), Topic: []byte("full"), Payload: payload}
			sent[m.ID] = string(payload[:32])
			c.send(m.Append(nil, c.v))
		}
		for range sent {
			var ack packet.Ack
			c.expect(packet.PUBACK, func(first byte, body []byte) error { return ack.Decode(c.v, first, body) })
			if ack.Code == packet.Success {
				acked[sent[ack.ID]] = true
			} else {
				refused = true
			}
		}
	}
}
