package input

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"midge/internal/bufpool"
)

// TestKeep receives bytes by chance, as an engine does, and uses some of them: all the rest
// is there each time, nobody holds much more than he has or expects, and what somebody shares
// does not change.
func TestKeep(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	size := func() int { return 1 + r.IntN(1<<(1+r.IntN(20))) }
	pool := bufpool.New(bufpool.MaxIdle)
	buffers := Buffers{Large: pool}
	for range 200 {
		var in *Buffer
		var want []byte // what was left unused
		type share struct {
			buffer *bufpool.Buffer
			bytes  []byte
			was    []byte
		}
		var shares []share
		for range 30 {
			var b []byte
			unread := len(want)
			if in != nil && r.IntN(2) == 0 {
				b = in.Grow(pool)
				in.B = b[:min(len(b), unread+size())]
				b = in.B
			} else {
				b = append(append([]byte(nil), want...), make([]byte, size())...)
			}
			for i := unread; i < len(b); i++ {
				b[i] = byte(r.Uint32())
			}
			all := bytes.Clone(b)
			if !bytes.Equal(all[:unread], want) {
				t.Fatalf("%d bytes were left unused, and are others now", unread)
			}
			used := 0
			if r.IntN(3) > 0 {
				used = r.IntN(len(b))
			}
			if in != nil && used > 0 && in.Shared() != nil && in.Shared().Holds(b) && r.IntN(3) == 0 {
				in.Shared().Retain()
				shares = append(shares, share{in.Shared(), b[:used], all[:used]})
			}
			expected := 0
			if r.IntN(2) == 0 {
				expected = size()
			}
			before := 0
			if in != nil && used == 0 && expected == 0 {
				before = in.Expected
			}
			in = buffers.Keep(in, b, used, expected)
			want = all[used:]
			if !bytes.Equal(in.B, want) {
				t.Fatalf("%d bytes of %d were used, and the rest is not what is kept", used, len(b))
			}
			if in.Expected != max(expected, before) {
				t.Fatalf("%d bytes are expected, want %d", in.Expected, max(expected, before))
			}
			if need := max(len(want), in.Expected); cap(in.B) > max(64<<10, 4*need+4) {
				t.Fatalf("%d bytes are held for %d", cap(in.B), need)
			}
			for _, s := range shares {
				if !bytes.Equal(s.bytes, s.was) {
					t.Fatal("bytes have changed that somebody shares")
				}
			}
		}
		for _, s := range shares {
			s.buffer.Release()
		}
		buffers.Put(in)
	}
}
