// Package command has what all commands share: what they see of the process, how
// they end, and how they say what is wrong with a command line.
//
// Files, from the bottom up: version.go, misuse.go, property.go, command.go.
package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	Done   = 0
	Failed = 1 // the command could not do its work; what it checked has faults
	Misuse = 2 // the command line makes no sense

	// TimedOut is sub's status when the time of -W is over: the one that
	// scripts for mosquitto_sub expect.
	TimedOut = 27
)

// World is what a command sees of the process that it runs in.
type World struct {
	Args   []string // without the name of the program
	Env    []string // as os.Environ returns it
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	// Outlived begins to catch the signals that a broker only takes note of. Only
	// serve calls it, so that they end the other commands. nil: there are none.
	Outlived func() <-chan os.Signal
}

// Variable is the value of an environment variable, "" if it isn't set.
func (w World) Variable(name string) string {
	for _, v := range w.Env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// IsTerminal reports whether w is a terminal or something like it.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Errors that cli.Run says nothing about: the command has done so, or should be
// quiet.
var (
	ErrTimedOut = errors.New("timed out")
	ErrSilent   = errors.New("failed")
)

// Failure is an error of a command that was called properly.
type Failure struct{ error }

func (f *Failure) Unwrap() error { return f.error }

// Work is what a command does; its errors are failures.
func Work(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := f(cmd, args); err != nil {
			return &Failure{err}
		}
		return nil
	}
}

// NeedSubcommand is what a command does that only groups others.
func NeedSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	near := ""
	cmd.SuggestionsMinimumDistance = 2
	if known := cmd.SuggestionsFor(args[0]); len(known) > 0 {
		near = "; did you mean " + strings.Join(known, " or ") + "?"
	}
	return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), near)
}
