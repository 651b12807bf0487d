package tlslayer

import (
	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/layer"
)

// codec is TLS on a connection. It implements layer.Codec.
type codec struct {
	conn layer.Conn
	mode // changes at most once, from standard to compact
}

// Conn implements layer.Codec.
func (k *codec) Conn() *layer.Conn { return &k.conn }

// mode is who encrypts and decrypts. Its methods are those of layer.Codec.
type mode interface {
	Begin(b []byte) (used int)
	Decode(src, dst []byte) (used, filled int, more bool, err error)
	Encode(out, body []byte, buffer *bufpool.Buffer)
	Goodbye()
	Leave()
	Moved()
	End(err error)
	Peer() engine.Peer
}
