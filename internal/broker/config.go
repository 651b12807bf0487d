package broker

import (
	"log/slog"

	"midge/internal/bufpool"
	"midge/internal/engine"
)

// Config is what a Broker is built from, and does not change while it runs. What
// can change are the settings.Core that New gets beside it, and the Authenticator.
type Config struct {
	// Shards is the number of shards, 1 to settings.MaxShards.
	Shards int

	// Refusing is how many connections over the limits are kept at one time until
	// they have sent CONNECT, which CONNACK can then refuse. A flood fills them,
	// and costs no more descriptors; what is over is closed at once.
	Refusing int

	Version       string                  // what $SYS/broker/version says
	Store         Store                   // nil keeps everything in memory
	Disk          func() Disk             // figures of where the Store keeps it; nil: there are none
	Authenticator Authenticator           // to begin with; nil: everybody may do everything. See Broker.Authenticate
	Revoked       func(engine.Conn) error // why a connection must end, nil: it need not. Asked at CONNECT, and after Review; nil: none must
	Count         func(*Counters)         // adds what others than the broker have counted; nil: nobody has
	Buffers       *bufpool.Pool           // for large packets that are sent; nil: one of its own
	Logger        *slog.Logger            // nil logs nothing
}

// Disk are figures of a data directory.
type Disk struct {
	Bytes       int64 // of the database
	LogBytes    int64 // of these, what the next start has to read again
	Quarantines int   // directories with what was damaged
}

// orNone replaces what is nil by what does nothing.
func (c Config) orNone() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Buffers == nil {
		c.Buffers = bufpool.New(bufpool.MaxIdle)
	}
	return c
}
