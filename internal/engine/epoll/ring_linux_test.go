//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"runtime"
	"testing"
)

// TestRingsOneAfterAnother proves that a ring gives back its place among the
// registered ones of its thread, of which there are 16.
func TestRingsOneAfterAnother(t *testing.T) {
	if err := probeRing(); err != nil {
		t.Skip(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	first := false
	for i := range 40 {
		r, err := newRing(4)
		if err != nil {
			t.Fatal(err)
		}
		registered := r.enterFlags&enterRegisteredRing != 0
		r.close()
		if i == 0 {
			first = registered
		} else if registered != first {
			t.Fatalf("ring %d is registered: %v, the first one: %v", i, registered, first)
		}
	}
	if !first {
		t.Skip("this kernel registers no rings")
	}
}
