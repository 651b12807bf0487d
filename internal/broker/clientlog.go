package broker

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/store"
)

// clientLog writes what an operator should know of clients: who was refused,
// closed, taken over or limited, from where, and why. A storm does not fill the
// disk with it: of each kind and address a few lines are written in a while, and
// then the number of those that were left out. All shards use it.
type clientLog struct {
	log *slog.Logger

	mu      sync.Mutex
	windows map[lineKind]*logWindow
}

// lineKind are the lines that are counted together.
type lineKind struct {
	what    string
	code    packet.ReasonCode
	address netip.Addr
}

// logWindow counts the lines of a kind for a while.
type logWindow struct {
	ends    time.Duration
	lines   int
	leftOut int
}

const (
	logWindowTime = 10 * time.Second
	maxLogLines   = 5    // lines of a kind in that time
	maxLogKinds   = 1024 // with a window of their own; further addresses count as one
)

// What lines say. Each is followed by who, from where, and why.
const (
	clientRefused    = "client refused"      // at CONNECT, or before it
	clientClosed     = "client closed"       // by the broker
	clientLimited    = "client limited"      // a request was refused, the connection goes on
	clientDelayed    = "client delayed"      // see contest and holdOff
	clientSlowed     = "client slowed down"  // it is not read for a while
	clientConnects   = "client connected"    // see log.connections
	clientDisconnect = "client disconnected" // the same
	connectionEnds   = "connection ended"    // that was no client's
)

func (l *clientLog) init(log *slog.Logger) {
	l.log, l.windows = log, map[lineKind]*logWindow{}
}

// allowed reports whether another line of a kind may be written. opened reports whether
// a window begins, which somebody must close when it ends.
func (l *clientLog) allowed(k lineKind, now time.Duration) (write, opened bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.windows[k]
	if w == nil && len(l.windows) >= maxLogKinds {
		k.address = netip.Addr{}
		w = l.windows[k]
	}
	if w == nil {
		w = &logWindow{ends: now + logWindowTime}
		l.windows[k] = w
		opened = true
	}
	if w.lines++; w.lines <= maxLogLines {
		return true, opened
	}
	w.leftOut++
	return false, opened
}

// close writes how many lines were left out in the windows that have ended, and
// returns when the next one ends, forever if there is none.
func (l *clientLog) close(now time.Duration) (next time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next = forever
	for k, w := range l.windows {
		if w.ends > now {
			next = min(next, w.ends)
			continue
		}
		delete(l.windows, k)
		if w.leftOut > 0 {
			l.log.Warn("lines left out", "of", k.what, "code", codeText(k.code), "address", addressText(k.address), "count", w.leftOut, "within", logWindowTime)
		}
	}
	return next
}

// logTimer closes the windows of the client log. Each shard has one, and that of
// a shard which opened a window runs.
type logTimer struct{ timer timer }

// expire implements expirer.
func (t *logTimer) expire(s *shard) {
	if next := s.b.clients.close(s.now); next != forever {
		s.timers.start(&t.timer, next)
	}
}

// line is what the log says about a client. Warnings are what the client or the
// operator can mend.
type line struct {
	level  slog.Level
	what   string // the message
	id     string // the client's, as far as it is known
	user   string // the name in a CONNECT that is refused
	code   packet.ReasonCode
	reason string
	clause string // of the standard, "" if there is none
}

// note writes a line about a client, unless there were too many like it.
func (s *shard) note(c *conn, n line) {
	l := &s.b.clients
	if !l.log.Enabled(context.Background(), n.level) {
		return
	}
	remote := c.net.Remote()
	write, opened := l.allowed(lineKind{n.what, n.code, remote.Addr()}, s.now)
	if opened && !s.logTimer.timer.set {
		s.logTimer.timer.owner = &s.logTimer
		s.timers.start(&s.logTimer.timer, s.now+logWindowTime)
	}
	if !write {
		return
	}
	attrs := append(idAttrs(make([]slog.Attr, 0, 9), n.id), slog.String("remote", remoteText(remote)), slog.String("reason", n.reason), slog.String("code", codeText(n.code)))
	if n.user != "" {
		attrs = append(attrs, slog.String("user", n.user))
	}
	if n.clause != "" {
		attrs = append(attrs, slog.String("clause", n.clause))
	}
	l.log.LogAttrs(context.Background(), n.level, n.what, attrs...)
}

// limited writes that a client asked for more than a limit allows, and was
// refused that. It goes on.
func (s *shard) limited(c *conn, code packet.ReasonCode, reason string) {
	s.note(c, line{level: slog.LevelWarn, what: clientLimited, id: c.name(), code: code, reason: reason})
}

// connectionLevel is that of the lines for clients that come or go. Without the
// setting they are lines for debugging.
func (s *shard) connectionLevel() slog.Level {
	if s.settings.Log.Connections {
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// logsConnections reports whether logConnection writes anything.
func (s *shard) logsConnections() bool {
	return s.b.clients.log.Enabled(context.Background(), s.connectionLevel())
}

// logConnection writes a line for a client that comes or goes.
func (s *shard) logConnection(what, id string, attrs ...slog.Attr) {
	s.b.clients.log.LogAttrs(context.Background(), s.connectionLevel(), what, append(idAttrs(nil, id), attrs...)...)
}

// idAttrs appends who a client is.
func idAttrs(attrs []slog.Attr, id string) []slog.Attr {
	mount, own := store.SplitID(id)
	if attrs = append(attrs, slog.String("client", own)); mount != "" {
		attrs = append(attrs, slog.String("mount_point", mount))
	}
	return attrs
}

// logConnect writes the line for a client that comes.
func (s *shard) logConnect(c *conn, who *routing.Identity, present bool) {
	attrs := append(make([]slog.Attr, 0, 5), slog.String("remote", remoteText(c.net.Remote())), slog.String("version", c.version.String()),
		slog.Bool("session_present", present), slog.Int("keep_alive", int(c.keepAlive)))
	if who != nil && who.Principal != "" {
		attrs = append(attrs, slog.String("principal", who.Principal))
	}
	s.logConnection(clientConnects, c.client.id, attrs...)
}

// logEnd writes a line for debugging about a connection that ends before it is a
// client's.
func (s *shard) logEnd(c *conn, why string) {
	if l := &s.b.clients; l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug(connectionEnds, "remote", remoteText(c.net.Remote()), "reason", why)
	}
}

// codeText is a reason code as the standard writes it.
func codeText(c packet.ReasonCode) string { return fmt.Sprintf("0x%02X %v", uint8(c), c) }

// remoteText is a peer's address; a Unix socket, or a peer that has gone, has
// none.
func remoteText(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unknown"
	}
	return a.String()
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return "others"
	}
	return a.String()
}
