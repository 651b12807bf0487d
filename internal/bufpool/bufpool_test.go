package bufpool

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestSizes(t *testing.T) {
	if got := sizeOf(classes - 1); got != largest {
		t.Errorf("the last size is %d, want %d", got, largest)
	}
	for n := smallest; n <= largest; n += 1021 {
		for _, n := range []int{n, sizeOf(classOf(n)), min(sizeOf(classOf(n))+1, largest)} {
			size := sizeOf(classOf(n))
			if size < n || n > smallest && size-n >= size/5+1 {
				t.Fatalf("%d bytes get a buffer of %d", n, size)
			}
			if class := classOf(n); class > 0 && sizeOf(class-1) >= n {
				t.Fatalf("%d bytes get a buffer of %d, and %d is enough", n, size, sizeOf(class-1))
			}
		}
	}
}

// TestShared proves that memory comes back once, after the last who shares it is done
// with it.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(largest)
		b := p.Get(100_000)
		b.Retain()
		if b.Release(); b.Shared() || p.Idle() != 0 {
			t.Fatal("released by the first of two, and it is free")
		}
		size := int64(len(b.Bytes()))
		if b.Release(); p.Idle() != size {
			t.Fatalf("%d bytes idle, want %d", p.Idle(), size)
		}
		if again := p.Get(100_000); again != b || p.Idle() != 0 || again.Shared() {
			t.Error("the next user got other memory")
		}
		if p.Get(100_000) == b {
			t.Error("two users got the same memory")
		}
	})
}

// TestBound proves that idle memory has a bound, that sizes which are not pooled
// are not kept, and that what nobody uses is let go of, and only that.
func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(4 * smallest)
		var all []*Buffer
		for range 6 {
			all = append(all, p.Get(smallest))
		}
		for _, n := range []int{1, smallest - 1, largest + 1} {
			all = append(all, p.Get(n))
		}
		for _, b := range all {
			b.Release()
		}
		if p.Idle() != 4*smallest {
			t.Errorf("%d bytes idle, want %d", p.Idle(), 4*smallest)
		}
		for range 20 { // one is in use now and then
			p.Get(smallest).Release()
			time.Sleep(trimEvery / 2)
		}
		if p.Idle() != smallest {
			t.Errorf("%d bytes idle after a while, want %d", p.Idle(), smallest)
		}
		time.Sleep(2 * trimEvery)
		synctest.Wait()
		if p.Idle() != 0 || p.Trimmed() != 4*smallest {
			t.Errorf("%d bytes idle at the end, %d let go", p.Idle(), p.Trimmed())
		}
	})
}

func TestReleasedTwice(t *testing.T) {
	b := New(0).Get(smallest)
	b.Release()
	defer func() {
		if recover() == nil {
			t.Error("released twice, and nothing happened")
		}
	}()
	b.Release()
}

func TestHolds(t *testing.T) {
	p := New(0)
	b := p.Get(smallest)
	m := b.Bytes()
	for _, tt := range []struct {
		name  string
		bytes []byte
		want  bool
	}{
		{"all", m, true},
		{"beginning", m[:1], true},
		{"end", m[len(m)-1:], true},
		{"nothing", m[:0], false},
		{"another buffer", p.Get(smallest).Bytes(), false},
		{"other memory", make([]byte, 1), false},
	} {
		if got := b.Holds(tt.bytes); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if p.Get(0).Holds(m) {
		t.Error("an empty buffer holds something")
	}
}
