package gonet

import (
	"slices"
	"sync"
	"unsafe"
)

// outputSizes are the sizes of memory for output beyond maxFreeBytes that is used again. Each
// is four times as large as the one before, at most, so that nobody holds a large one
// with little in it.
var outputSizes = [...]int{8 << 10, 32 << 10, 128 << 10}

// outputs is the memory of each size, by its first byte. The garbage collector takes what
// nobody uses.
var outputs [len(outputSizes)]sync.Pool

// growOutput returns output with room for n bytes more.
func growOutput(b []byte, n int) []byte {
	need := len(b) + n
	if need <= cap(b) {
		return b
	}
	if need > maxFreeBytes {
		for i, size := range outputSizes {
			if need > size {
				continue
			}
			first, ok := outputs[i].Get().(*byte)
			if !ok {
				first = unsafe.SliceData(make([]byte, size))
			}
			larger := append(unsafe.Slice(first, size)[:0], b...)
			releaseOutput(b)
			return larger
		}
	}
	return slices.Grow(b, n)
}

// shrinkOutput returns output in memory of which at least a quarter is used.
func shrinkOutput(b []byte) []byte {
	if cap(b) <= maxFreeBytes || 4*len(b) >= cap(b) {
		return b
	}
	smaller := slices.Clone(b)
	releaseOutput(b)
	return smaller
}

// releaseOutput takes memory back that nobody uses any more.
func releaseOutput(b []byte) {
	for i, size := range outputSizes {
		if cap(b) == size {
			outputs[i].Put(unsafe.SliceData(b))
		}
	}
}
