//go:build !linux || 386

package engine

// AckedBytes is how many bytes the peer of a TCP socket has acknowledged. ok is
// false if the system does not say.
func AckedBytes(uintptr) (n uint64, ok bool) { return 0, false }
