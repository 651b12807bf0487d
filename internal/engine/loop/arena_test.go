package loop

import (
	"bytes"
	"testing"
)

// TestArena proves that equal neighbours share one copy, whatever part of them
// is head and body, and that others don't.
func TestArena(t *testing.T) {
	var a Arena
	memory := Arenas{Max: 1}
	put := func(head, body string) uint32 {
		t.Helper()
		offset, ok := a.Put([]byte(head), []byte(body), &memory)
		if !ok {
			t.Fatal("the arena is full")
		}
		if got := a.At(offset, uint32(len(head)+len(body))); string(got) != head+body {
			t.Fatalf("%q is kept as %q", head+body, got)
		}
		return offset
	}
	for range 2 { // also after a turn
		for _, tt := range []struct {
			head, body string
			want       uint32
		}{
			{"ab", "cd", 0},
			{"ab", "cd", 0},
			{"abc", "d", 0},
			{"abcd", "", 0},
			{"", "abcd", 0},
			{"abce", "", 4},
			{"abcd", "", 8},
			{"abcde", "", 12},
			{"a", "", 17},
			{"", "a", 17},
		} {
			if got := put(tt.head, tt.body); got != tt.want {
				t.Errorf("%q, %q lies at %d, want %d", tt.head, tt.body, got, tt.want)
			}
		}
		a.Reset(&memory)
	}
}

// TestArenaFull proves what an arena holds at most, and that it holds any message
// alone.
func TestArenaFull(t *testing.T) {
	var a Arena
	memory := Arenas{Max: 1}
	for _, tt := range []struct {
		size int
		ok   bool
	}{
		{arenaBytes - 1, true},
		{2, false},
		{1, true},
		{3, false},
	} {
		if _, ok := a.Put(make([]byte, tt.size), nil, &memory); ok != tt.ok {
			t.Errorf("message of %d bytes is taken: %v", tt.size, ok)
		}
	}
	a.Reset(&memory)
	if _, ok := a.Put(nil, make([]byte, 2*arenaBytes), &memory); !ok {
		t.Error("an empty arena doesn't take a large message")
	}
	a.Reset(&memory)
	if len(memory.free) != 0 {
		t.Errorf("memory of %d bytes is kept", cap(memory.free[0]))
	}
}

// TestArenaMemory proves that a turn uses the memory of the one before, and
// that a thread keeps no more of it than it may.
func TestArenaMemory(t *testing.T) {
	memory := Arenas{Max: 2}
	message := bytes.Repeat([]byte{1}, 100)
	turn := func() {
		var arenas [3]Arena
		for i := range arenas {
			arenas[i].Put(message, nil, &memory)
		}
		for i := range arenas {
			arenas[i].Reset(&memory)
		}
	}
	turn()
	if len(memory.free) != 2 {
		t.Errorf("memory of %d arenas is kept, want 2", len(memory.free))
	}
	memory.Max = 3
	turn()
	if n := testing.AllocsPerRun(100, turn); n > 0 {
		t.Errorf("%v allocations a turn", n)
	}
}

func BenchmarkArena(b *testing.B) {
	head, body := make([]byte, 20), make([]byte, 64)
	for _, bb := range []struct {
		name   string
		change int // the message is another one after so many
	}{{"fan-out", 100}, {"each its own", 1}} {
		b.Run(bb.name, func(b *testing.B) {
			var a Arena
			memory := Arenas{Max: 1}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%bb.change == 0 {
					body[n/bb.change%len(body)]++
				}
				a.Put(head, body, &memory)
				if n%100 == 99 {
					a.Reset(&memory)
				}
			}
		})
	}
}
