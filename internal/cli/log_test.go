package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"midge/internal/settings"
)

// TestLogWriter proves that each line is written, in order and whole.
func TestLogWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newLogWriter(&out)
		var want strings.Builder
		for i := range 1000 {
			fmt.Fprintf(l, "line %d\n", i)
			fmt.Fprintf(&want, "line %d\n", i)
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		l.Close()
		if out.String() != want.String() {
			t.Errorf("%d bytes were written, want %d", out.Len(), want.Len())
		}
	})
}

// stuck is standard error that nobody reads for a while.
type stuck struct {
	goOn chan struct{}
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.goOn
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// TestLogWriterNeverWaits fills the log while nobody reads it: writing goes on,
// memory is bounded, and the number of lost lines is told afterwards.
func TestLogWriterNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{goOn: make(chan struct{})}
		l := newLogWriter(s)
		log := logger(l, settings.Log{Level: "info", Format: "json"})
		l.Lost(func(n int) { log.Warn("lost", "count", n) })
		line := strings.Repeat("x", 1024)
		const lines = 5000
		for range lines {
			log.Info(line)
		}
		l.mu.Lock()
		if n := len(l.waiting); n > maxLogWaiting {
			t.Errorf("%d bytes wait", n)
		}
		l.mu.Unlock()
		close(s.goOn)
		l.Close()
		written := strings.Count(s.text.String(), line)
		var lost int
		for text := range strings.Lines(s.text.String()) {
			if _, count, ok := strings.Cut(text, `"count":`); ok {
				n := 0
				fmt.Sscan(strings.TrimSuffix(strings.TrimSpace(count), "}"), &n)
				lost += n
			}
		}
		if lost == 0 || written+lost != lines {
			t.Errorf("%d lines were written and %d lost, of %d", written, lost, lines)
		}
	})
}

// TestLogWriterEndsWithoutReader proves that a reader that never comes back does
// not keep the process from ending.
func TestLogWriterEndsWithoutReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{goOn: make(chan struct{})}
		l := newLogWriter(s)
		io.WriteString(l, "last words\n")
		l.Close()
		close(s.goOn)
		synctest.Wait()
	})
}

// TestLogWriterShrinks fills the log while nobody reads it. Once all is written,
// the buffers that this took are gone.
func TestLogWriterShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{goOn: make(chan struct{})}
		l := newLogWriter(s)
		defer l.Close()
		for range 1000 {
			fmt.Fprintln(l, strings.Repeat("x", 500))
		}
		close(s.goOn)
		for range 3 { // each buffer comes up
			synctest.Wait()
			if n := cap(l.waiting); n > maxLogBuffer {
				t.Errorf("a buffer of %d bytes is left", n)
			}
			fmt.Fprintln(l, "a line")
		}
	})
}
