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
	"time"

	"golang.org/x/term"

	"midge/internal/client"
)

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
