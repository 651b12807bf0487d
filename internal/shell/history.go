package shell

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// historyLines is how many lines the history keeps.
const historyLines = 1000

// history holds the lines that were typed, the newest last, and adds each to a
// file as it comes, so that shells side by side lose nothing of each other. It
// belongs to the goroutine that reads lines.
type history struct {
	lines  []string
	path   string // "": kept in memory only
	off    bool   // nothing is added
	secret func(line string) bool
}

// openHistory reads the file at path; it doesn't have to exist.
func openHistory(path string, secret func(string) bool) (*history, error) {
	h := &history{path: path, secret: secret}
	if path == "" {
		return h, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		h.lines = append(h.lines, strings.TrimRight(line, "\r\n"))
	}
	if len(h.lines) > 2*historyLines {
		h.lines = h.lines[len(h.lines)-historyLines:]
		return h, h.rewrite()
	}
	return h, nil
}

// keep adds a line, unless it is empty, repeats the one before, or holds a
// secret.
func (h *history) keep(line string) error {
	if h.off || strings.TrimSpace(line) == "" || h.secret(line) {
		return nil
	}
	if n := len(h.lines); n > 0 && h.lines[n-1] == line {
		return nil
	}
	h.lines = append(h.lines, line)
	if h.path == "" {
		return nil
	}
	f, err := h.open(os.O_APPEND)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

// clear forgets all lines.
func (h *history) clear() error {
	h.lines = nil
	if h.path == "" {
		return nil
	}
	return h.rewrite()
}

func (h *history) rewrite() error {
	f, err := h.open(os.O_TRUNC)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	for _, line := range h.lines {
		fmt.Fprintln(out, line)
	}
	return errors.Join(out.Flush(), f.Close())
}

// open opens the file for writing. What was typed is nobody else's business.
func (h *history) open(flag int) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return nil, fmt.Errorf("keep the history: %w", err)
	}
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_CREATE|flag, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep the history: %w", err)
	}
	return f, nil
}

// search finds the newest line before entry number below that contains text.
// Entries count from the newest, which is 0; the answer is -1 if there is none.
func (h *history) search(text string, after int) int {
	for i := after; i < len(h.lines); i++ {
		if strings.Contains(h.At(i), text) {
			return i
		}
	}
	return -1
}

// Add does nothing: lines get in by keep, which can fail. It is here for
// term.History.
func (h *history) Add(string) {}

// Len returns the number of lines.
func (h *history) Len() int { return len(h.lines) }

// At returns a line; 0 is the newest.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }
