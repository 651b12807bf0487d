package layer_test

import (
	"errors"
	"testing"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/layer"
	"midge/test/engines"
)

// plain is a protocol whose bytes are as they are.
type plain struct{ ended []int } // shards on which connections ended

func (p *plain) Speaks(int) bool                       { return true }
func (p *plain) NewCodec(engine.Conn) layer.Codec      { return &codec{plain: p} }
func (p *plain) Turn(int, time.Duration) time.Duration { return engine.Never }

type codec struct {
	conn  layer.Conn
	plain *plain
}

func (k *codec) Conn() *layer.Conn { return &k.conn }

func (k *codec) Begin([]byte) int {
	k.conn.Established()
	return 0
}

func (k *codec) Decode(src, dst []byte) (used, filled int, more bool, err error) {
	n := copy(dst, src)
	return n, n, n < len(src), nil
}

func (k *codec) Encode(out, body []byte, _ *bufpool.Buffer) { k.conn.Raw().Send(out, body) }
func (k *codec) Goodbye()                                   {}
func (k *codec) Leave()                                     {}
func (k *codec) Moved()                                     {}
func (k *codec) End(error)                                  { k.plain.ended = append(k.plain.ended, k.conn.Shard()) }
func (k *codec) Peer() engine.Peer                          { return engine.Peer{} }

// raw is a connection of an engine that has ended, but has not said so yet: it does not move.
type raw struct {
	engine.Conn
	state any
}

func (r *raw) Attach(state any) { r.state = state }
func (r *raw) Attached() any    { return r.state }
func (r *raw) Listener() int    { return 0 }
func (r *raw) Move(int)         {}
func (r *raw) Resume()          {}
func (r *raw) Pending() int     { return 0 }
func (r *raw) Send(_, _ []byte) {}

// mover gives each connection to the other shard.
type mover struct{ engines.Shard }

func (mover) Data(c engine.Conn, b []byte) int {
	c.Send(b, nil)
	c.Move(1)
	return len(b)
}

// TestEndsOnItsWay gives a connection to another shard that has ended meanwhile: the engine
// says so to the first one, and never opens it on the other.
func TestEndsOnItsWay(t *testing.T) {
	gone := errors.New("gone")
	for _, turn := range []bool{false, true} {
		p := &plain{}
		ended := make(chan error, 1)
		l := layer.New(p, []engine.Shard{&mover{engines.Shard{Ended: ended}}, &mover{}}, bufpool.New(bufpool.MaxIdle))
		s, c := l.Shards()[0], &raw{}
		s.Open(c)
		s.Data(c, []byte("x"))
		if turn {
			s.Turn(time.Second)
		}
		s.Closed(c, gone)
		if len(p.ended) != 1 || p.ended[0] != 0 {
			t.Errorf("the codec was told of the end on the shards %v", p.ended)
		}
		if err := <-ended; err != gone {
			t.Errorf("the inner shard was told %v", err)
		}
		s.Turn(time.Second)
	}
}
