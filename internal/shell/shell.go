// Package shell is the interactive MQTT client: a prompt, or a script, from
// which several clients connect, subscribe and publish.
//
// Everything comes from one table, commands: parsing, completion, help and the
// reference page. One goroutine reads lines and runs commands; messages arrive
// on goroutines of their clients, are printed from there, and wait in an inbox
// for the commands wait and expect. The protocol is package client's business.
//
// Files, from the bottom up: words.go, command.go, connection.go, message.go,
// option.go, help.go, history.go, complete.go, saved.go, session.go,
// terminal_unix.go, terminal.go, terminal_windows.go, script.go, shell.go,
// request.go, publish.go, connect.go, wait.go, subscribe.go, settings.go.
package shell

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

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

// errQuit ends the shell.
var errQuit = errors.New("quit")

// usageError is the error of a line that makes no sense, so that nothing was
// done. A script can't expect it.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// Run runs a shell until its input ends or ctx does. At a prompt, errors are
// for the user; without one the first error ends the shell and is returned,
// with the place where it happened.
func Run(ctx context.Context, c Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if in, out := terminals(c); in != nil {
		return runTerminal(ctx, c, in, out)
	}
	name, in := "standard input", c.Stdin
	if c.Script != "" {
		f, err := os.Open(c.Script)
		if err != nil {
			return fmt.Errorf("read the script: %w", err)
		}
		defer f.Close()
		name, in = c.Script, f
	}
	console := newScript(ctx, name, in, c.Stdout)
	console.echo = c.Echo
	s := newShell(c, console)
	s.live = c.Script == ""
	return errors.Join(s.runScript(ctx, console), console.printed())
}

// terminals are the files of a user's terminal, or nil.
func terminals(c Config) (in, out *os.File) {
	in, isFile := c.Stdin.(*os.File)
	out, isFile2 := c.Stdout.(*os.File)
	if c.Script != "" || !isFile || !isFile2 || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return nil, nil
	}
	return in, out
}

func runTerminal(ctx context.Context, c Config, in, out *os.File) error {
	paths := [2]string{}
	if c.StateDir != "" {
		paths = [2]string{filepath.Join(c.StateDir, "history"), filepath.Join(c.StateDir, "packets.json")}
	}
	if c.NoHistory {
		paths[0] = ""
	}
	s := newShell(c, nil)
	s.live = true
	s.looks.color = !c.NoColor
	var err error
	if s.history, err = openHistory(paths[0], s.secret); err != nil {
		return err
	}
	s.history.off = c.NoHistory
	if s.saved, err = openSaved(paths[1]); err != nil {
		return err
	}
	t, err := openTerminal(ctx, in, out, s.history)
	if err != nil {
		return err
	}
	defer t.close()
	t.complete = s.complete
	s.console = t
	s.print("'help' lists the commands, Tab completes, Ctrl-D ends.\n")
	return s.runPrompt(ctx)
}

// newShell returns a shell with neither history nor saved packets.
func newShell(c Config, console console) *Shell {
	s := &Shell{config: c, console: console, commands: commands(), now: time.Now, timeout: cmp.Or(c.Timeout, 10*time.Second)}
	s.dial = func(ctx context.Context, o client.Options) (conn, error) {
		c, err := client.Connect(ctx, o)
		if err != nil {
			return nil, err // not a conn that holds a nil *Client
		}
		return c, nil
	}
	s.history = &history{secret: s.secret}
	s.saved = &saved{packets: map[string]client.Message{}}
	s.looks = look{payload: "text", limit: 4096}
	return s
}

func commands() []command {
	return []command{
		connectCommand(), disconnectCommand(), useCommand(), statusCommand(),
		subCommand(), unsubCommand(), pubCommand(), packetCommand(),
		waitCommand(), expectCommand(),
		setCommand(), unsetCommand(), historyCommand(), echoCommand(), helpCommand(), quitCommand("quit"), quitCommand("exit"),
	}
}

func (s *Shell) secret(line string) bool { return secret(s.commands, line) }

// runPrompt is the loop at a prompt.
func (s *Shell) runPrompt(ctx context.Context) error {
	defer s.end()
	for {
		line, err := s.console.readLine(s.prompt)
		switch {
		case errors.Is(err, errInterrupted):
			continue
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("read a line: %w", err)
		}
		err = s.history.keep(line)
		if ran := s.console.during(ctx, func(ctx context.Context) error { return s.execute(ctx, line) }); ran != nil {
			err = errors.Join(ran, err)
		}
		if errors.Is(err, errQuit) {
			return nil
		}
		if err != nil {
			s.print(s.look().fault(err))
		}
	}
}

// runScript is the loop without a prompt: the first error ends it.
func (s *Shell) runScript(ctx context.Context, console *script) (err error) {
	for err == nil {
		line, readErr := console.readLine(s.prompt)
		if readErr == io.EOF {
			break
		}
		at := console.line
		if err = readErr; err == nil {
			err = s.execute(ctx, line)
		}
		if errors.Is(err, errQuit) {
			err = nil
			break
		}
		if err != nil {
			err = console.at(at, err)
		}
	}
	s.end()
	return err
}

// end shows what nobody took and disconnects quietly: the user may have left.
func (s *Shell) end() {
	for _, one := range slices.Clone(s.clients.all) {
		if _, _, lost := one.inbox.figures(); lost == nil {
			one.inbox.close(errDisconnected)
			// The broker notices the end of the connection in any case.
			_ = one.conn.Disconnect(client.Disconnection{})
		}
		s.leave(one)
	}
}

// execute runs a line.
func (s *Shell) execute(ctx context.Context, line string) error {
	words, err := split(line)
	if err != nil {
		return err
	}
	mustFail := false
	if len(words) > 0 && !words[0].quoted {
		words[0].text, mustFail = strings.CutPrefix(words[0].text, "!")
		if mustFail && words[0].text == "" {
			words = words[1:]
		}
	}
	if len(words) == 0 {
		if mustFail {
			return usagef("! needs a command that must fail")
		}
		return nil
	}
	in, err := parse(s.commands, words)
	if err != nil {
		return err
	}
	err = in.command.run(ctx, s, in)
	if _, misuse := errors.AsType[*usageError](err); !mustFail || misuse || errors.Is(err, errQuit) || ctx.Err() != nil {
		return err
	}
	if err == nil {
		return fmt.Errorf("%s: it must fail, and it didn't", in.command.name)
	}
	s.printf("failed as it must: %v\n", err)
	return nil
}

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

// topics are the topics and filters that a shell has met, for completion.
type topics struct {
	mu   sync.Mutex
	seen map[string]bool
}

// maxTopics bounds what a shell remembers: who can't find a topic among so
// many types more of it.
const maxTopics = 10_000

func (t *topics) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = map[string]bool{}
	}
	if len(t.seen) < maxTopics {
		t.seen[name] = true
	}
}

func (t *topics) all() (all []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.seen {
		all = append(all, name)
	}
	return all
}
