package enginetest

import (
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"midge/internal/engine"
)

// testKeepAlive reads back what an accepted socket has been told, so that a
// peer that vanishes without a word is noticed.
func testKeepAlive(t *testing.T, newEngine New) {
	w := start(t, newEngine, 1, nil)
	c := w.dial(t)
	send(t, c, []byte("x"))
	receive(t, c, []byte("x"))
	fd := acceptedFrom(t, c)
	for _, tt := range []struct {
		name                string
		level, option, want int
	}{
		{"SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, int(engine.KeepAliveIdle / time.Second)},
		{"TCP_KEEPINTVL", syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, int(engine.KeepAliveInterval / time.Second)},
		{"TCP_KEEPCNT", syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, engine.KeepAliveProbes},
		{"TCP_USER_TIMEOUT", syscall.IPPROTO_TCP, 18, int(engine.UserTimeout / time.Millisecond)},
		{"TCP_NODELAY", syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
	} {
		if got, err := syscall.GetsockoptInt(fd, tt.level, tt.option); err != nil || got != tt.want {
			t.Errorf("%s: %d, %v; want %d", tt.name, got, err, tt.want)
		}
	}
	if longest := 5 * time.Minute; engine.UserTimeout > longest {
		t.Errorf("a peer that has vanished is noticed after %v", engine.UserTimeout)
	}
}

// acceptedFrom finds the descriptor of this process at the other end of c.
func acceptedFrom(t *testing.T, c Client) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	port := c.LocalAddr().(*net.TCPAddr).Port
	for _, e := range entries {
		fd, _ := strconv.Atoi(e.Name())
		if sa, err := syscall.Getpeername(fd); err == nil {
			if in, ok := sa.(*syscall.SockaddrInet4); ok && in.Port == port {
				return fd
			}
		}
	}
	t.Fatal("no socket has c as its peer")
	return 0
}
