// Package cli is the command line: the table of subcommands, what help and shells
// are told of them, and the commands that belong to the broker. Clients and the
// bench are parts, which a build may leave out (parts.go).
//
// It reads arguments, environment and files, and leaves the work to the
// packages app and config.
//
// Files, from the bottom up: part.go, part_bench.go, part_bench_left_out.go,
// part_clients.go, part_clients_left_out.go, part_websocket.go,
// part_websocket_left_out.go, part_etcd.go, part_etcd_left_out.go, part_hook.go,
// part_hook_left_out.go, part_ldap.go, part_ldap_left_out.go, part_acme.go, part_acme_left_out.go, parts.go,
// log.go, version.go, watch.go, mosquitto.go, sources.go, config.go, passwd.go, ban.go, store.go, cert.go, reload.go, serve.go,
// completion.go, cli.go.
package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"midge/internal/cli/command"
)

// Run runs the command that w.Args names until it ends, or until ctx is
// cancelled, and returns the exit status.
func Run(ctx context.Context, w command.World) int {
	root := root(w)
	if len(w.Args) > 0 && strings.HasPrefix(w.Args[0], cobra.ShellCompRequestCmd) {
		unquote(root)
	}
	root.SetArgs(command.JoinProperties(root, w.Args))
	root.SetOut(w.Stdout)
	root.SetErr(w.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return command.Done
	}
	if errors.Is(err, command.ErrTimedOut) {
		return command.TimedOut
	}
	if errors.Is(err, command.ErrSilent) {
		return command.Failed
	}
	if failure, ok := errors.AsType[*command.Failure](err); ok {
		for line := range strings.Lines(failure.Error()) {
			fmt.Fprintf(w.Stderr, "midge: %s\n", strings.TrimRight(line, "\n"))
		}
		return command.Failed
	}
	fmt.Fprintf(w.Stderr, "midge: %v\n%s\n", err, command.Hint(cmd))
	return command.Misuse
}

func root(w command.World) *cobra.Command {
	root := &cobra.Command{
		Use:   "midge",
		Short: "An MQTT broker and its tools",
		Long: `Midge is an MQTT broker for MQTT 3.1, 3.1.1 and 5.0: 'midge serve'. The other commands are clients and tools; all but
config, passwd, store and cert work with any broker.`,
		Example: `  midge serve
  midge sub -t 'home/#' -v
  midge pub -t home/lamp -m on
  midge top`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(serveCommand(w), configCommand(w), passwdCommand(w), banCommand(w), storeCommand(w), certCommand(), completionCommand(), versionCommand())
	for _, p := range parts() {
		root.AddCommand(p.commands(w)...)
	}
	// Not cobra's own --version, which links text/template: docs/dependencies.md.
	version := root.Flags().BoolP("version", "v", false, "print the version")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if !*version {
			return command.NeedSubcommand(cmd, args)
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), command.Build()+without())
		return err
	}
	root.SetFlagErrorFunc(command.FlagError)
	root.CompletionOptions.DisableDefaultCmd = true
	complete(root)
	return root
}
