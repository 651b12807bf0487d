package shell

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
)

// script is the console without a user: lines come from a reader, and text
// goes to a writer.
type script struct {
	name  string // of the file, for errors
	echo  bool   // lines are printed as they are read, with a prompt
	lines chan scriptLine
	line  int // the number of the last line read
	ctx   context.Context

	mu  sync.Mutex
	out io.Writer
	err error // of out
}

type scriptLine struct {
	text string
	err  error
}

// newScript reads in until it or ctx ends. The goroutine that does it may stay
// behind in a read that can't be ended.
func newScript(ctx context.Context, name string, in io.Reader, out io.Writer) *script {
	s := &script{name: name, lines: make(chan scriptLine), ctx: ctx, out: out}
	go s.read(in)
	return s
}

func (s *script) read(in io.Reader) {
	defer close(s.lines)
	lines := bufio.NewReader(in)
	for {
		text, err := lines.ReadString('\n')
		if err == io.EOF && text != "" {
			err = nil // the last line lacks its newline; the next read ends
		}
		select {
		case s.lines <- scriptLine{strings.TrimRight(text, "\r\n"), err}:
		case <-s.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// textWidth is 0: what a script prints doesn't depend on where.
func (s *script) textWidth() int { return 0 }

func (s *script) readLine(prompt func() string) (string, error) { return s.readText(prompt()) }

func (s *script) readText(prompt string) (string, error) {
	select {
	case l, more := <-s.lines:
		if !more {
			return "", io.EOF
		}
		if l.err != nil {
			return "", l.err
		}
		s.line++
		if s.echo {
			s.print(prompt + l.text + "\n")
		}
		return l.text, nil
	case <-s.ctx.Done():
		return "", errInterrupted
	}
}

// readSecret reads the next line, which isn't echoed.
func (s *script) readSecret(string) (string, error) {
	echo := s.echo
	s.echo = false
	defer func() { s.echo = echo }()
	return s.readText("")
}

func (s *script) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		_, s.err = io.WriteString(s.out, text)
	}
}

func (s *script) during(ctx context.Context, run func(context.Context) error) error { return run(ctx) }

// at says in which line err happened.
func (s *script) at(line int, err error) error { return fmt.Errorf("%s:%d: %w", s.name, line, err) }

// printed returns the error of writing the output, if there was one.
func (s *script) printed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
