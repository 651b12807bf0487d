package cli

import (
	"io"
	"log/slog"
	"sync"
	"time"

	"midge/internal/settings"
)

// logger writes lines of the configured level and format.
func logger(w io.Writer, c settings.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // the configuration allows known names only
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: plainErrors}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// plainErrors writes errors as their text: those of some libraries would have
// slog write where they came from, over many lines.
func plainErrors(_ []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok {
		return slog.String(a.Key, err.Error())
	}
	return a
}

// logWriter takes log lines from the threads of the broker, which must not wait
// for whoever reads the log: a stopped terminal, a full pipe, a slow disk. A
// goroutine writes them. Lines beyond maxLogWaiting are lost, and counted.
type logWriter struct {
	out     io.Writer
	wake    chan struct{} // has an item when there is something to do
	done    chan struct{} // closed when all is written
	mu      sync.Mutex
	waiting []byte
	lost    int
	closed  bool
	report  func(lost int)
}

const (
	maxLogWaiting = 1 << 20         // bytes, some thousand lines
	maxLogBuffer  = 16 << 10        // bytes of a buffer for later lines
	logEndWithin  = 2 * time.Second // that the last lines may take at the end
)

func newLogWriter(out io.Writer) *logWriter {
	l := &logWriter{out: out, wake: make(chan struct{}, 1), done: make(chan struct{}), report: func(int) {}}
	go l.run()
	return l
}

// Lost sets what is called when lines were lost and others are taken again. It
// may write. Call it before the first Write.
func (l *logWriter) Lost(report func(n int)) { l.report = report }

// Write takes a line. It does not wait and does not fail.
func (l *logWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	if len(l.waiting)+len(line) > maxLogWaiting {
		l.lost++
	} else {
		l.waiting = append(l.waiting, line...)
	}
	l.mu.Unlock()
	l.more()
	return len(line), nil
}

func (l *logWriter) more() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run writes what waits. What cannot be written is gone: there is no other place
// to say so.
func (l *logWriter) run() {
	defer close(l.done)
	var lines []byte
	for range l.wake {
		l.mu.Lock()
		lines, l.waiting = l.waiting, lines[:0]
		lost, closed := l.lost, l.closed
		l.lost = 0
		l.mu.Unlock()
		if len(lines) > 0 {
			l.out.Write(lines) //nolint:errcheck // see above
		}
		if cap(lines) > maxLogBuffer {
			lines = nil
		}
		if lost > 0 {
			l.report(lost) // which wakes us again
		}
		if closed && lost == 0 {
			return
		}
	}
}

// Close writes what waits, unless that takes too long.
func (l *logWriter) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.more()
	select {
	case <-l.done:
	case <-time.After(logEndWithin):
	}
}
