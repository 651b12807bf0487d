//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"bytes"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine/input"
)

// TestPending compares outputs with their bytes in a row, under random additions, shared
// bodies, partial writes and copies, and looks whether all buffers come back.
func TestPending(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	pool, list := bufpool.New(1<<30), &pendings{}
	sizes := []int{0, 1, 10, 511, 513, 5000, maxFreePending - 1, maxFreePending, maxFreePending + 1, 200_000}
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	fill := func(b []byte) []byte {
		copy(b, noise[random.IntN(len(noise)-len(b)+1):])
		return b
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pair[0])
	defer syscall.Close(pair[1])
	var g gather
	for range 30 {
		o := list.get()
		var want []byte
		for range random.IntN(100) {
			switch random.IntN(6) {
			case 0, 1:
				head, body := fill(make([]byte, random.IntN(20))), fill(make([]byte, sizes[random.IntN(len(sizes))]))
				o.add(pool, head, body)
				want = append(append(want, head...), body...)
			case 2, 3:
				buffer := pool.Get(16 << 10 << random.IntN(5))
				all := fill(buffer.Bytes())
				body := all[:1+random.IntN(len(all))]
				head, sent := fill(make([]byte, random.IntN(20))), random.IntN(len(body))
				o.share(pool, head, body, sent, buffer)
				buffer.Release()
				want = append(append(want, head...), body[sent:]...)
			case 4:
				o.compact(pool)
				for _, d := range o.bodies {
					if 2*len(d.bytes) < len(d.buffer.Bytes()) {
						t.Fatalf("a buffer of %d bytes is held for %d", len(d.buffer.Bytes()), len(d.bytes))
					}
				}
				if cap(o.b) > max(maxFreePending, input.MaxWaste*len(o.b)) {
					t.Fatalf("a buffer of %d bytes is held for %d of its own", cap(o.b), len(o.b))
				}
			case 5:
				if len(want) == 0 {
					continue
				}
				n, errno := g.sendPending(int32(pair[0]), o)
				if errno != 0 {
					t.Fatal(os.NewSyscallError("sendmsg", errno))
				}
				got := make([]byte, n)
				if m, err := syscall.Read(pair[1], got); m != n || err != nil || !bytes.Equal(got, want[:n]) {
					t.Fatalf("%d of %d bytes were written, and others than are pending (%v)", m, n, err)
				}
				n = random.IntN(n + 1)
				o.written(n)
				want = want[n:]
			}
			if o.size != len(want) {
				t.Fatalf("%d bytes, want %d", o.size, len(want))
			}
		}
		if got := flat(o); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes differ from what was added, %d", len(got), len(want))
		}
		list.put(o)
	}
	idle := pool.Idle()
	if again := pool.Get(16 << 10); pool.Idle() != idle-16<<10 || again.Shared() {
		t.Error("a buffer did not come back")
	}
}

// flat is a copy of the output.
func flat(o *pending) (all []byte) {
	own := 0
	for _, d := range o.bodies {
		all = append(append(all, o.b[own:d.at]...), d.bytes...)
		own = d.at
	}
	return append(all, o.b[own:]...)
}
