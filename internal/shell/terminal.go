package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/term"
)

// errInterrupted is the end of a line that Ctrl-C gave up.
var errInterrupted = errors.New("interrupted")

// terminal is the console of a user: a line editor with history and
// completion, above which text can be printed at any time.
type terminal struct {
	editor  *term.Terminal
	keys    *keyboard
	out     *os.File
	restore func()
	history *history

	// complete is what Tab asks; see Shell.complete.
	complete func(line string, pos int) (newLine string, newPos int, show []string)

	mu     sync.Mutex
	prompt func() string // of the line that is being read; nil between lines

	// Of the search with Ctrl-R: what was typed, the entry that it found, and
	// that entry's line. They belong to the goroutine that reads lines.
	needle string
	found  int
	line   string
}

// openTerminal takes the terminal over. It reads keys until ctx ends, and
// hands the terminal back as it was when close is called.
func openTerminal(ctx context.Context, in, out *os.File, h *history) (*terminal, error) {
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("take over the terminal: %w", err)
	}
	stopANSI := enableANSI(out)
	t := &terminal{keys: newKeyboard(ctx, in), out: out, history: h}
	t.editor = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{t.keys, out}, "")
	t.editor.SetBracketedPasteMode(true)
	t.fit()
	stopResize := onResize(t.fit)
	t.restore = func() {
		stopResize()
		t.editor.SetBracketedPasteMode(false)
		stopANSI()
		// Nothing can be done about a terminal that has gone away.
		_ = term.Restore(int(in.Fd()), state)
	}
	return t, nil
}

func (t *terminal) close() { t.restore() }

// fit tells the editor how big the terminal is.
func (t *terminal) fit() {
	if width, height, err := term.GetSize(int(t.out.Fd())); err == nil && width > 0 {
		// It fails only if it can't write.
		_ = t.editor.SetSize(width, height)
	}
}

func (t *terminal) width() int {
	width, _, err := term.GetSize(int(t.out.Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}

// textWidth is the width, or less where lines would be too long to read.
func (t *terminal) textWidth() int { return min(t.width(), 120) }

// readLine reads a line. The prompt is asked for again whenever it is drawn.
func (t *terminal) readLine(prompt func() string) (string, error) {
	t.editor.AutoCompleteCallback = t.key
	t.editor.History = t.history
	return t.read(prompt)
}

// readText reads a line without completion and history.
func (t *terminal) readText(prompt string) (string, error) {
	t.editor.AutoCompleteCallback = nil
	t.editor.History = &history{}
	return t.read(func() string { return prompt })
}

func (t *terminal) read(prompt func() string) (string, error) {
	t.setPrompt(prompt)
	t.keys.reading.Store(true)
	line, err := t.editor.ReadLine()
	t.keys.reading.Store(false)
	t.setPrompt(nil)
	switch err {
	case term.ErrPasteIndicator:
		err = nil
	case io.EOF:
		// Leave the line, behind the editor's back: it would draw it anew.
		_, _ = io.WriteString(t.out, "\r\n")
	}
	if t.keys.interrupted.Swap(false) {
		return "", errInterrupted
	}
	return line, err
}

// readSecret reads a line without showing it.
func (t *terminal) readSecret(prompt string) (string, error) {
	t.keys.reading.Store(true)
	defer t.keys.reading.Store(false)
	line, err := t.editor.ReadPassword(prompt)
	if t.keys.interrupted.Swap(false) {
		return "", errInterrupted
	}
	return line, err
}

func (t *terminal) setPrompt(prompt func() string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prompt = prompt
	if prompt != nil {
		t.editor.SetPrompt(prompt())
	}
}

// print shows whole lines above the prompt and what is typed there. Any
// goroutine may call it.
func (t *terminal) print(text string) {
	t.mu.Lock()
	if t.prompt != nil {
		t.editor.SetPrompt(t.prompt())
	}
	t.mu.Unlock()
	// A terminal that can't be written to can't be told so either.
	_, _ = t.editor.Write([]byte(text))
}

// key handles the keys that the editor knows nothing of.
func (t *terminal) key(line string, pos int, key rune) (newLine string, newPos int, ok bool) {
	switch key {
	case '\t':
		newLine, newPos, show := t.complete(line, pos)
		if len(show) > 0 {
			t.print(columns(show, t.width()))
		}
		return newLine, newPos, true
	case 'R' - '@': // Ctrl-R
		return t.search(line)
	}
	return "", 0, false
}

// search replaces what was typed by the newest line of the history that
// contains it, and by the next older one each time the key is pressed again.
func (t *terminal) search(line string) (newLine string, newPos int, ok bool) {
	from := 0
	if line == t.line && line != "" {
		from = t.found + 1
	} else {
		t.needle = line
	}
	i := t.history.search(t.needle, from)
	if i < 0 {
		return "", 0, false
	}
	t.found, t.line = i, t.history.At(i)
	return t.line, len(t.line), true
}

// during runs a command, which Ctrl-C ends by cancelling its context.
func (t *terminal) during(ctx context.Context, run func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.keys.running.Store(&cancel)
	defer t.keys.running.Store(nil)
	return run(ctx)
}

// columns arranges words below each other, as many columns as fit into width.
func columns(words []string, width int) string {
	widest := 0
	for _, w := range words {
		widest = max(widest, utf8.RuneCountInString(w))
	}
	perLine := max(1, width/(widest+2))
	var b strings.Builder
	for line := range slices.Chunk(words, perLine) {
		for i, w := range line {
			b.WriteString(w)
			if i < len(line)-1 {
				b.WriteString(strings.Repeat(" ", widest+2-utf8.RuneCountInString(w)))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// keyboard reads what is typed all the time, so that Ctrl-C also works while a
// command runs; what is typed meanwhile waits.
type keyboard struct {
	ctx   context.Context
	typed chan []byte
	rest  []byte // of what was taken from typed; belongs to the reader

	reading     atomic.Bool // a line is being read
	interrupted atomic.Bool // Ctrl-C gave it up
	running     atomic.Pointer[context.CancelCauseFunc]
}

// newKeyboard reads in until it ends. The goroutine that does it stays behind
// in a read from the terminal, which can't be ended, until the process is gone.
func newKeyboard(ctx context.Context, in io.Reader) *keyboard {
	k := &keyboard{ctx: ctx, typed: make(chan []byte, 64)}
	go k.run(in)
	return k
}

func (k *keyboard) run(in io.Reader) {
	defer close(k.typed)
	for {
		buf := make([]byte, 256)
		n, err := in.Read(buf)
		if keys := k.filter(buf[:n]); len(keys) > 0 {
			select {
			case k.typed <- keys:
			case <-k.ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

const ctrlC = 'C' - '@'

// filter takes Ctrl-C out of what was typed. It cancels the command that runs,
// or empties and ends the line that is being read.
func (k *keyboard) filter(keys []byte) []byte {
	const endOfLine, deleteToStart, enter = "\x05", "\x15", "\r"
	i := slices.Index(keys, ctrlC)
	if i < 0 {
		return keys
	}
	cancel := k.running.Load()
	switch {
	case k.reading.Load():
		k.interrupted.Store(true)
		return append([]byte(endOfLine+deleteToStart+enter), k.filter(keys[i+1:])...)
	case cancel != nil:
		(*cancel)(errInterrupted)
	}
	return k.filter(keys[i+1:])
}

// Read hands out what was typed. It ends with io.EOF when ctx does.
func (k *keyboard) Read(p []byte) (int, error) {
	if len(k.rest) == 0 {
		select {
		case keys, ok := <-k.typed:
			if !ok {
				return 0, io.EOF
			}
			k.rest = keys
		case <-k.ctx.Done():
			return 0, io.EOF
		}
	}
	n := copy(p, k.rest)
	k.rest = k.rest[n:]
	return n, nil
}
