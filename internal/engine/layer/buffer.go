package layer

import "midge/internal/bufpool"

const (
	// readBytes is how much is decoded at once of a connection of which nothing is
	// expected, in bytes.
	readBytes = 64 << 10

	// frontBytes and less that were left unused are copied in front of what is decoded
	// next, instead of decoding behind them.
	frontBytes = 4 << 10

	// largeBytes is the size from which on input lies in buffers of the pool.
	largeBytes = 32 << 10

	// maxWaste times as large as what is in it a large buffer may not be.
	maxWaste = 4

	// maxFree buffers for output are kept by a shard for the next users, each of at most
	// maxFreeBytes.
	maxFree      = 64
	maxFreeBytes = 16 << 10
)

// input is decoded input that a connection's shard left unused.
type input struct {
	b        []byte
	expected int             // see engine.Conn.Expect; 0: nothing is expected
	mem      *bufpool.Buffer // that b lies in, nil if it has memory of its own
}

// newInput returns an empty input with room for so many bytes.
func newInput(pool *bufpool.Pool, room int) *input {
	if room < largeBytes {
		return &input{b: make([]byte, 0, room)}
	}
	mem := pool.Get(room)
	return &input{b: mem.Bytes()[:0], mem: mem}
}

// release gives its memory back.
func (in *input) release() {
	if in.mem != nil {
		in.mem.Release()
	}
}

// grow makes room behind what is in the input, and returns all of it with that room: what
// is expected of it, or twice as much.
func (in *input) grow(pool *bufpool.Pool) []byte {
	n := len(in.b)
	need := in.expected
	if need <= n {
		need = 2*n + frontBytes
	}
	if cap(in.b) < need {
		larger := newInput(pool, need)
		larger.b = append(larger.b, in.b...)
		in.release()
		in.b, in.mem = larger.b, larger.mem
	}
	return in.b[:need]
}

// output is what a connection sends in a turn.
type output struct{ b []byte }
