package wslayer

import (
	"errors"
	"strconv"
	"testing"
	"unsafe"

	"github.com/gobwas/ws"
)

// TestSize holds what a WebSocket that does nothing takes, and twice that with the
// garbage collector's share.
func TestSize(t *testing.T) {
	if size := unsafe.Sizeof(codec{}); size > 64 && strconv.IntSize == 64 {
		t.Errorf("a codec with its connection takes %d bytes, more than the size class of 64", size)
	}
}

// TestHugeFrames reads the lengths around what a codec counts.
func TestHugeFrames(t *testing.T) {
	for _, c := range []struct {
		size string
		code ws.StatusCode
	}{
		{"\x00\x00\x00\x00\xff\xff\xff\xff", 0},
		{"\x00\x00\x00\x01\x00\x00\x00\x00", ws.StatusMessageTooBig},
		{"\x7f\xff\xff\xff\xff\xff\xff\xff", ws.StatusMessageTooBig},
		{"\x80\x00\x00\x00\x00\x00\x00\x00", ws.StatusProtocolError},
	} {
		f, _, err := readFrame([]byte("\x82\xff"+c.size+"mask"), false)
		v, _ := errors.AsType[*violation](err)
		if c.code == 0 && err == nil && f.size == 1<<32-1 {
			continue
		}
		if v == nil || v.code != c.code {
			t.Errorf("length %x: %+v, %v; want status %d", c.size, f, err, c.code)
		}
	}
}
