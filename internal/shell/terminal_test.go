package shell

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestKeyboard proves what Ctrl-C does: while a line is read it empties and
// ends that, while a command runs it ends that, and what was typed before is
// still there.
func TestKeyboard(t *testing.T) {
	const endsLine = "\x05\x15\r"
	for _, tt := range []struct {
		name             string
		reading, running bool
		typed, want      string
		interrupted      bool
	}{
		{"text", true, false, "abc", "abc", false},
		{"in a line", true, false, "ab\x03cd", endsLine + "cd", true},
		{"twice in a line", true, false, "ab\x03cd\x03e", endsLine + endsLine + "e", true},
		{"in a command", false, true, "\x03cd", "cd", true},
		{"between", false, false, "\x03cd", "cd", false},
	} {
		k := &keyboard{}
		ctx, cancel := context.WithCancelCause(t.Context())
		k.reading.Store(tt.reading)
		if tt.running {
			k.running.Store(&cancel)
		}
		got := string(k.filter([]byte(tt.typed)))
		interrupted := k.interrupted.Load()
		if tt.running {
			interrupted = errors.Is(context.Cause(ctx), errInterrupted)
		}
		if got != tt.want || interrupted != tt.interrupted {
			t.Errorf("%s: %q, %v", tt.name, got, interrupted)
		}
		cancel(nil)
	}
}

// TestKeyboardEnds proves that reading ends with the input, and with the
// context.
func TestKeyboardEnds(t *testing.T) {
	text, err := io.ReadAll(newKeyboard(t.Context(), strings.NewReader(strings.Repeat("0123456789", 100))))
	if err != nil || len(text) != 1000 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	never, writer := io.Pipe()
	defer writer.Close()
	k := newKeyboard(ctx, never)
	cancel()
	if n, err := k.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes, %v", n, err)
	}
}
