// Package shell is the interactive MQTT client: a prompt, or a script, from
// which several clients connect, subscribe and publish.
//
// Everything comes from one table, commands: parsing, completion, help and the
// reference page. One goroutine reads lines and runs commands; messages arrive
// on goroutines of their clients, are printed from there, and wait in an inbox
// for the commands wait and expect. The protocol is package client's business.
//
// Files, from the bottom up: misuse.go, words.go, command.go, option.go,
// history.go, saved.go, connection.go, topics.go, message.go, terminal_unix.go,
// terminal_windows.go, terminal.go, script.go, shell.go, complete.go, session.go,
// help.go, request.go, publish.go, connect.go, wait.go, subscribe.go,
// settings.go, commands.go, reference.go, run.go.
package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"midge/internal/client"
)

// Config says how a shell runs.
type Config struct {
	Connect client.Options // what connect begins with; its options change it
	Stdin   io.Reader      // of a user if both it and Stdout are terminals
	Stdout  io.Writer

	Script string // run this file instead of reading Stdin
	Echo   bool   // print the lines of a script as they are read

	StateDir  string // directory of history and saved packets; "" keeps neither
	NoHistory bool   // keep no history
	NoColor   bool

	Timeout time.Duration // for answers and messages; 10 s if 0
}

// console is where lines come from and text goes to.
type console interface {
	// readLine reads a command. The prompt may change while it waits.
	readLine(prompt func() string) (string, error)

	// readText reads a line that isn't a command.
	readText(prompt string) (string, error)

	// readSecret reads a line that doesn't show.
	readSecret(prompt string) (string, error)

	// textWidth is the number of columns that help is folded to; 0 for no limit.
	textWidth() int

	// print prints whole lines. Any goroutine may call it.
	print(text string)

	// during runs a command, whose context ends when the user interrupts it.
	during(ctx context.Context, run func(context.Context) error) error
}

// Shell is a shell that runs.
type Shell struct {
	config   Config
	console  console
	commands []command
	dial     func(context.Context, client.Options) (conn, error)
	now      func() time.Time
	live     bool // messages are printed as they come, rather than when they are taken

	clients  connections
	topics   topics
	saved    *saved
	history  *history
	defaults []given
	timeout  time.Duration
	made     int // client ids made up

	mu    sync.Mutex
	looks look // guarded by mu
}

func (s *Shell) secret(line string) bool { return secret(s.commands, line) }

// prompt shows the current client.
func (s *Shell) prompt() string {
	now := s.clients.current()
	if now == nil {
		return "midge> "
	}
	name := printable(now.name)
	if _, _, lost := now.inbox.figures(); lost != nil {
		name += " (lost)"
	}
	return name + "> "
}

func (s *Shell) print(text string) { s.console.print(text) }

func (s *Shell) printf(format string, args ...any) { s.print(fmt.Sprintf(format, args...)) }

func (s *Shell) look() look {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

func (s *Shell) changeLook(f func(*look) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f(&s.looks)
}

// request is what a line without options asks for.
func (s *Shell) request() *request { return &request{timeout: s.timeout} }

// received takes a message, on the goroutine of its client.
func (s *Shell) received(b *inbox, m client.Message) {
	s.topics.add(m.Topic)
	if s.live {
		s.print(s.look().message(b.client(), &m, s.now()))
	}
	b.put(m)
}

// lost takes the end of a connection, on a goroutine of its client.
func (s *Shell) lost(b *inbox, err error) {
	b.close(err)
	if s.live {
		s.print(s.look().fault(fmt.Errorf("%s: the connection is lost: %w", b.client(), err)))
	}
}

// taken shows a message that wait or expect took, unless it was shown when it
// came.
func (s *Shell) taken(one *connection, m *client.Message) {
	if !s.live {
		s.print(s.look().message(one.name, m, s.now()))
	}
}

// showRest shows what a client received and nobody took.
func (s *Shell) showRest(one *connection) {
	for {
		m, ok, _ := one.inbox.poll()
		if !ok {
			return
		}
		s.taken(one, &m)
	}
}

// explain says of an error that ctx caused why that ended.
func (s *Shell) explain(ctx context.Context, err error, timeout time.Duration) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errInterrupted):
		return errInterrupted
	case errors.Is(cause, context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer within %v", err, timeout)
	}
	return err
}
