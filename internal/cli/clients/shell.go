package clients

import (
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"midge/internal/cli/command"
	"midge/internal/shell"
)

func shellCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shell",
		Short: "Connect clients, subscribe and publish at a prompt",
		Long: `At the prompt several clients can connect, subscribe and publish; messages are printed above it as they come. 'help'
lists the commands, Tab completes them. The flags say how clients connect unless the command connect says otherwise.

With --script, or when standard input or standard output isn't a terminal, it runs commands without a prompt: the first
that fails ends it with exit status 1, and with file, line and reason on standard error. With --script, messages are
printed when the commands wait and expect take them, so that the output is the same on each run.

History and saved packets are kept in $XDG_STATE_HOME/midge (by default ~/.local/state/midge; on Windows
%LocalAppData%\midge). Scripts neither use nor change them.`,
		Example: `  midge shell
  midge shell -h broker.example -u alice --cafile ca.pem
  midge shell --script test.midge
  printf 'connect a\npub t hello --retain\n' | midge shell`,
		Args: command.MaxArgs(0),
	}
	connect := addConnectFlags(cmd.Flags())
	script := cmd.Flags().String("script", "", "run the commands in `file`")
	echo := cmd.Flags().Bool("echo", false, "print the commands of a script as they run")
	noHistory := cmd.Flags().Bool("no-history", false, "neither use nor keep the history")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, _, err := connect.options(nil)
		if err != nil {
			return err
		}
		if connect.id == "" && connect.idPrefix == "" {
			options.ClientID = "" // each connect makes up its own
		}
		c := shell.Config{
			Connect: options, Stdin: w.Stdin, Stdout: w.Stdout, Script: *script, Echo: *echo,
			StateDir: stateDir(w), NoHistory: *noHistory, NoColor: noColor(w),
		}
		if cmd.Flags().Changed("connect-timeout") {
			c.Timeout = connect.timeout
		}
		return command.Work(func(cmd *cobra.Command, _ []string) error { return shell.Run(cmd.Context(), c) })(cmd, args)
	}
	return cmd
}

// stateDir is where a user's tools keep what they remember, "" if the system
// doesn't say.
func stateDir(w command.World) string {
	if dir := w.Variable("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "midge")
	}
	if dir := w.Variable("LocalAppData"); runtime.GOOS == "windows" && dir != "" {
		return filepath.Join(dir, "midge")
	}
	if home := w.Variable("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "midge")
	}
	return ""
}

// noColor reports whether the user or the terminal wants no colors
// (https://no-color.org).
func noColor(w command.World) bool {
	return w.Variable("NO_COLOR") != "" || w.Variable("TERM") == "dumb"
}
