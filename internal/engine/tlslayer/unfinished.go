package tlslayer

import (
	"errors"
	"time"

	"midge/internal/engine/layer"
)

// A record is decrypted when all of it is here. Until then the engine holds what there is of it,
// up to 16 KiB, and no shard knows. So all of these have a bound together: as
// long as they are above it, connections end whose record does not come to its end.

const (
	// DefaultUnfinished is the bound if Config has none, in bytes.
	DefaultUnfinished = 16 << 20

	// smallBytes and less of a record count for nothing.
	smallBytes = 1 << 10

	// wholeBytes of a record and more have the engine make room for all of it.
	wholeBytes = 4 << 10

	// patience is how long a record may take while others want its room: 1.6 kB a second,
	// for a full one.
	patience = 10 * time.Second

	// lookEvery is how often it is looked for those that took longer.
	lookEvery = time.Second
)

// errUnfinished is the error of a connection that had to make room for others.
var errUnfinished = errors.New("the rest of a TLS record does not come, and others need the memory that it takes")

// unfinished is what a connection has of a record that is not all here.
type unfinished struct {
	at    int32  // the index in shard.unfinished, plus 1; 0: it is not there
	bytes uint16 // that it counts for
}

// waiting is a connection with an unfinished record.
type waiting struct {
	conn  *layer.Conn
	of    *unfinished
	since time.Duration
}

// await takes note of what c has of an unfinished record. another: the one before is complete.
func (l *Layer) await(c *layer.Conn, u *unfinished, rest []byte, another bool) {
	n := len(rest)
	if n >= wholeBytes {
		n = recordLength(rest)
	}
	if n <= smallBytes {
		l.forget(c, u)
		return
	}
	l.unfinished.Add(int64(n) - int64(u.bytes))
	u.bytes = uint16(n)
	s := &l.shards[c.Shard()]
	switch {
	case u.at == 0:
		s.unfinished = append(s.unfinished, waiting{c, u, l.Now()})
		u.at = int32(len(s.unfinished))
	case another:
		s.unfinished[u.at-1].since = l.Now()
	}
}

// forget is the end of a record that was not finished, or of its connection on the shard.
func (l *Layer) forget(c *layer.Conn, u *unfinished) {
	if u.at == 0 {
		return
	}
	l.unfinished.Add(-int64(u.bytes))
	s := &l.shards[c.Shard()]
	last := len(s.unfinished) - 1
	s.unfinished[u.at-1] = s.unfinished[last]
	s.unfinished[u.at-1].of.at = u.at
	s.unfinished[last] = waiting{}
	s.unfinished = s.unfinished[:last]
	*u = unfinished{}
}

// makeRoom ends connections of the shard that have waited too long, as long as there is too
// much. It returns when it wants to look again.
func (l *Layer) makeRoom(s *shard, now, next time.Duration) time.Duration {
	if len(s.unfinished) == 0 || l.unfinished.Load() <= l.cfg.Unfinished {
		return next
	}
	if now-s.looked >= lookEvery {
		s.looked = now
		for i := len(s.unfinished) - 1; i >= 0; i-- {
			w := &s.unfinished[i]
			switch {
			case w.conn.Paused(): // it is we who don't read
				w.since = now
			case now-w.since >= patience && l.unfinished.Load() > l.cfg.Unfinished:
				l.counters.Unfinished.Add(1)
				w.conn.Fail(errUnfinished)
			}
		}
	}
	return min(next, s.looked+lookEvery)
}
