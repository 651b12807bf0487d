package gonet

import (
	"bytes"
	"runtime"
	"testing"
)

// TestOutputMemory proves that output of a turn which is put together of small pieces is whole,
// lies in memory of which a quarter is used, and leaves little garbage when it is written.
func TestOutputMemory(t *testing.T) {
	piece := make([]byte, 50)
	for i := range piece {
		piece[i] = byte(i)
	}
	turn := func() {
		var out []byte
		for range 2000 {
			out = append(growOutput(out, len(piece)), piece...)
			if cap(out) > maxFreeBytes && 4*len(out) < cap(out) {
				t.Fatalf("%d bytes lie in %d", len(out), cap(out))
			}
		}
		if !bytes.Equal(out, bytes.Repeat(piece, 2000)) {
			t.Fatal("the output is not what was put together")
		}
		rest := shrinkOutput(out[:1000])
		if cap(rest) > 4*len(rest) || !bytes.Equal(rest, bytes.Repeat(piece, 20)) {
			t.Fatalf("%d bytes lie in %d", len(rest), cap(rest))
		}
	}
	turn()
	var before, after runtime.MemStats
	want := uint64(100_000 + 128<<10) // bytes.Repeat, and what is below maxFreeBytes; with the race detector pools lose some
	const n = 100
	runtime.ReadMemStats(&before)
	for range n {
		turn()
	}
	if runtime.ReadMemStats(&after); (after.TotalAlloc-before.TotalAlloc)/n > want {
		t.Errorf("a turn allocates %d bytes, want %d at most", (after.TotalAlloc-before.TotalAlloc)/n, want)
	}
}
