// Package cli is the command line: the table of subcommands, their help, and
// the exit statuses.
//
// It reads arguments, environment and files, and leaves the work to the
// packages app and config.
//
// Files, from the bottom up: misuse.go, property.go, cli.go, completion.go,
// tls.go, connect.go, log.go, config.go, version.go, bench.go, pub.go,
// shell.go, store.go, sub.go, top.go, serve.go, compare.go.
package cli

import (
	"context"
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

// Run runs the command that w.Args names until it ends, or until ctx is
// cancelled, and returns the exit status.
func Run(ctx context.Context, w World) int {
	root := root(w)
	if len(w.Args) > 0 && strings.HasPrefix(w.Args[0], cobra.ShellCompRequestCmd) {
		unquote(root)
	}
	root.SetArgs(joinProperties(root, w.Args))
	root.SetOut(w.Stdout)
	root.SetErr(w.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return Done
	}
	if errors.Is(err, errTimedOut) {
		return TimedOut
	}
	if errors.Is(err, errSilent) {
		return Failed
	}
	if failure, ok := errors.AsType[*failure](err); ok {
		for line := range strings.Lines(failure.Error()) {
			fmt.Fprintf(w.Stderr, "midge: %s\n", strings.TrimRight(line, "\n"))
		}
		return Failed
	}
	fmt.Fprintf(w.Stderr, "midge: %v\n%s\n", err, hint(cmd))
	return Misuse
}

// Errors that Run says nothing about: the command has done so, or should be
// quiet.
var (
	errTimedOut = errors.New("timed out")
	errSilent   = errors.New("failed")
)

// failure is an error of a command that was called properly.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

// work is what a command does; its errors are failures.
func work(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := f(cmd, args); err != nil {
			return &failure{err}
		}
		return nil
	}
}

// needSubcommand is what a command does that only groups others.
func needSubcommand(cmd *cobra.Command, args []string) error {
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

func root(w World) *cobra.Command {
	root := &cobra.Command{
		Use:   "midge",
		Short: "An MQTT broker and its tools",
		Long: `Midge is an MQTT broker for MQTT 3.1, 3.1.1 and 5.0: 'midge serve'. The other commands are clients and tools; all but
config and store work with any broker.`,
		Example: `  midge serve
  midge sub -t 'home/#' -v
  midge pub -t home/lamp -m on
  midge top`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(serveCommand(w), configCommand(w), storeCommand(w), benchCommand(w), shellCommand(w), pubCommand(w), subCommand(w), topCommand(w), completionCommand(), versionCommand())
	// Not cobra's own --version, which links text/template: docs/dependencies.md.
	version := root.Flags().BoolP("version", "v", false, "print the version")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if !*version {
			return needSubcommand(cmd, args)
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), build())
		return err
	}
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.DisableDefaultCmd = true
	complete(root)
	return root
}
