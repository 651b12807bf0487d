package enginetest

import (
	"bytes"
	"cmp"
	"net"
	"testing"

	"midge/internal/bufpool"
	"midge/internal/engine"
)

// readAtOnce is the most that engines read of a connection of which they know nothing,
// in bytes.
const readAtOnce = 64 << 10

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
			if room > 0 && len(b) > max(room, readAtOnce) {
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

// testInputBuffer sends records of sizes around the thresholds of engines, in pieces
// of several sizes, to a shard that retains the buffers they lie in where there are
// any, and looks at the records only when others have come: the bytes stay as they
// were, and where the answers wait for a peer that reads late. Every other size is expected as a whole.
func testInputBuffer(t *testing.T, newEngine New) {
	var sizes []int
	for _, around := range []int{4 << 10, 16 << 10, 20 << 10, 32 << 10, 64 << 10, 80 << 10, 128 << 10, 1 << 20} {
		sizes = append(sizes, around-1, around, around, around+1, 3)
	}
	for i, piece := range []int{0, 1000, 16 << 10, 100_000, 0} {
		w := start(t, newEngine, 1, func(s *shard) { s.data = retainRecords(s, sizes) })
		c := w.dial(t)
		var all []byte
		for i, n := range sizes {
			all = append(all, pattern(n, i)...)
		}
		sent := make(chan error, 1)
		go func() {
			for rest := all; ; {
				n := len(rest)
				if piece > 0 {
					n = min(n, piece)
				}
				if _, err := c.Write(rest[:n]); err != nil || n == len(rest) {
					sent <- err
					return
				}
				rest = rest[n:]
			}
		}()
		if i%2 == 0 { // the shard has more to send than the system takes
			if err := await(t, "end of writing", sent); err != nil {
				t.Fatal(err)
			}
			sent <- nil
		}
		receive(t, c, all)
		if err := await(t, "end of writing", sent); err != nil {
			t.Fatal(err)
		}
		c.Close()
		w.stop()
	}
}

// retainRecords is a shard's Data for records of sizes. It answers each with the same
// bytes, when the third after it has come or after the last, from where they came
// if there is a buffer that can be retained.
func retainRecords(s *shard, sizes []int) func(engine.Conn, []byte) int {
	type record struct {
		bytes  []byte
		buffer *bufpool.Buffer
	}
	var retained []record
	next := 0
	answer := func(c engine.Conn, r record) {
		if r.buffer == nil {
			c.Send(r.bytes[:1], r.bytes[1:])
			return
		}
		c.SendShared(r.bytes[:1], r.bytes[1:], r.buffer)
		r.buffer.Release()
	}
	return func(c engine.Conn, b []byte) (used int) {
		for next < len(sizes) && len(b)-used >= sizes[next] {
			r := record{b[used : used+sizes[next]], c.InputBuffer()}
			if r.buffer == nil {
				r.bytes = bytes.Clone(r.bytes)
			} else if r.buffer.Retain(); !r.buffer.Holds(r.bytes) {
				s.fault("%d bytes don't lie in the buffer of the input", len(r.bytes))
			}
			used += len(r.bytes)
			next++
			retained = append(retained, r)
			for len(retained) > 3 || next == len(sizes) && len(retained) > 0 {
				answer(c, retained[0])
				retained = retained[1:]
			}
		}
		if next < len(sizes) && next%2 == 0 {
			c.Expect(sizes[next])
		}
		return used
	}
}

// testThrottle looks at how much is read at once from many connections while the
// engine is told to read little, and afterwards.
func testThrottle(t *testing.T, newEngine New) {
	const size = 256 << 10
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
			w.Runner.Throttle(0, on)
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
	least := cmp.Or(w.Least, 4<<10) // a connection may have a buffer of that size
	if n := sip(false); n > least || n == 0 {
		t.Errorf("%d bytes were read at once, want at most %d", n, least)
	}
	send(t, conns[0], pattern(size/8, 9))
	receive(t, conns[0], pattern(size/8, 9))
}
