package enginetest

import (
	"net"
	"testing"

	"midge/internal/engine"
)

// testExpect sends records of several sizes, one behind the other, to a shard that
// takes a record only as a whole and says how much of it the engine may keep: in
// steps, some of them from outside of Data while the connection is paused. Data
// never has more than that, and nothing is lost.
func testExpect(t *testing.T, newEngine New) {
	sizes := []int{300_000, 10, 70_000, 5_000, 1 << 20, 1, 66_000, 65_536, 40_000}
	done := make(chan struct{})
	w := start(t, newEngine, 1, func(s *shard) {
		room, records, steps := 0, 0, 0
		s.data = func(c engine.Conn, b []byte) (used int) {
			if room > 0 && len(b) > room {
				s.fault("%d bytes, expected %d at most", len(b), room)
			}
			for len(b)-used >= sizes[records] {
				size := sizes[records]
				c.Send(b[used:used+size], nil)
				used += size
				room = 0
				if records++; records == len(sizes) {
					close(done)
					return used
				}
			}
			if rest := len(b) - used; rest > 1000 && rest >= room {
				room = min(sizes[records], max(2*rest, 20_000))
				if steps++; steps%3 == 0 {
					c.Pause()
					s.world.Runner.Post(s.index, func() {
						c.Expect(room)
						c.Resume()
					})
				} else {
					c.Expect(room)
				}
			}
			return used
		}
	})
	c := w.dial(t)
	var all []byte
	for i, n := range sizes {
		all = append(all, pattern(n, i)...)
	}
	sent := make(chan error, 1)
	go func() { _, err := c.Write(all); sent <- err }()
	receive(t, c, all)
	<-done
	if err := await(t, "end of writing", sent); err != nil {
		t.Fatal(err)
	}
}

// testSip looks at how much is read at once from many connections while the
// engine is told to read little, and afterwards.
func testSip(t *testing.T, newEngine New) {
	const size, least = 256 << 10, 4 << 10 // a connection may have a buffer of that size
	largest := 0
	w := start(t, newEngine, 1, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			largest = max(largest, len(b))
			c.Send(b, nil)
			return len(b)
		}
	})
	sip := func(on bool) (before int) {
		set := make(chan struct{})
		w.Runner.Post(0, func() {
			before, largest = largest, 0
			w.Runner.Sip(0, on)
			close(set)
		})
		<-set
		return before
	}
	var conns []net.Conn
	for range 5 {
		conns = append(conns, w.dial(t))
	}
	sip(true)
	for i, c := range conns {
		want, sent := pattern(size, i), make(chan error, 1)
		go func() { _, err := c.Write(want); sent <- err }()
		receive(t, c, want)
		if err := await(t, "end of writing", sent); err != nil {
			t.Fatal(err)
		}
	}
	if n := sip(false); n > least || n == 0 {
		t.Errorf("%d bytes were read at once, want at most %d", n, least)
	}
	send(t, conns[0], pattern(size/8, 9))
	receive(t, conns[0], pattern(size/8, 9))
}
