package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"midge/internal/app/storetool"
	"midge/internal/cli/command"
	"midge/internal/config"
)

func storeCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look into the data directory of a stopped broker",
		Long: `Checks, counts and exports what a broker keeps in its data directory, and imports what Mosquitto has kept. The broker must be stopped: while one runs on
the directory these commands refuse to. All but import read only, and leave the directory as it is; no broker can
start on it before they end.

The directory is the one that --data-dir names, or else the one that 'midge serve' would use with the same --config.`,
		Example: "  midge store check\n  midge store stats --data-dir /var/lib/midge\n  midge store export > messages.jsonl",
		Args:    cobra.ArbitraryArgs,
		RunE:    command.NeedSubcommand,
	}
	cmd.AddCommand(storeCheckCommand(w), storeStatsCommand(w), storeExportCommand(w), storeImportCommand(w))
	return cmd
}

func storeCheckCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Verify every file and every record",
		Long: `Verifies the checksums of all files, reads every record, and checks that what it needs is there: receivers their
message, exchanges their receivers, and everything its session. It prints what it finds, and exits with status 1 when
something is damaged. What is only left over, which the next start tidies up, does not count as damage.

A damaged database is read as far as it can be, from a copy among the temporary files (TMPDIR). To repair it, start the
broker: it sets aside what it cannot read, and goes on with the rest.`,
		Example: "  midge store check\n  midge store check --data-dir /var/lib/midge\n  midge store check --config /etc/midge/midge.toml",
	}
	storeWork(cmd, w, func(out io.Writer, dir string) error { return storetool.Check(out, dir) })
	return cmd
}

func storeStatsCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Print sessions, queues and sizes",
		Long: `Prints the numbers of sessions, subscriptions, waiting and retained messages, wills and QoS 2 exchanges; the biggest
queues; and how many records and bytes there are of each kind. Bytes of messages are those of topics, payloads and
properties; those of files are what they take after compression.`,
		Example: "  midge store stats\n  midge store stats --data-dir /var/lib/midge --biggest 100",
	}
	salvage := salvageFlag(cmd)
	biggest := cmd.Flags().Int("biggest", 10, "list the biggest queues, at most this `number`")
	storeWork(cmd, w, func(out io.Writer, dir string) error {
		return storetool.Stats(out, storetool.Options{Dir: dir, Salvage: *salvage}, *biggest)
	})
	return cmd
}

func storeExportCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write messages as JSON lines",
		Long: `Writes wills, retained messages, and the messages that wait for sessions, each as a JSON object on a line of its own,
with topic, QoS, properties, expiry and the sessions that are to get it. payload_encoding tells whether the payload is
there as it is ("text", if it is UTF-8) or in base64. Messages to different shared subscriptions are lines of their own;
"message" is the same number for all lines of one message.`,
		Example: `  midge store export > messages.jsonl
  midge store export --kind retained | jq -r .topic
  midge store export --data-dir /var/lib/midge --client sensor-17`,
	}
	salvage := salvageFlag(cmd)
	kinds := cmd.Flags().StringSlice("kind", nil, "write only messages of this `kind`: queued, retained or will; repeatable")
	client := cmd.Flags().String("client", "", "write only what waits for the client with this `id`, and its will")
	storeWork(cmd, w, func(out io.Writer, dir string) error {
		sel := storetool.Selection{Kinds: *kinds, Client: *client}
		return storetool.Export(out, storetool.Options{Dir: dir, Salvage: *salvage}, sel)
	})
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		known := []string{storetool.Queued, storetool.Retained, storetool.Will}
		for _, k := range *kinds {
			if !slices.Contains(known, k) {
				return fmt.Errorf("--kind %s: it can be %s", k, strings.Join(known, ", "))
			}
		}
		return run(cmd, args)
	}
	return cmd
}

func storeImportCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make a data directory of Mosquitto's persistence file",
		Long: `Reads the persistence file of a Mosquitto that is stopped (mosquitto.db, of version 1.6 or 2.0), and writes what it has
into the data directory: sessions with their subscriptions, the messages that wait for them and the exchanges that have
begun, and retained messages. What has expired is left out. A file that is damaged is not imported at all; the error
has the offset of the damage.

The directory must be empty or not exist. With --replace, what it holds is put aside, in a directory in it that is
called replaced-TIME.`,
		Example: "  midge store import /var/lib/mosquitto/mosquitto.db\n  midge store import --data-dir /var/lib/midge --without 'local.*' mosquitto.db",
	}
	replace := cmd.Flags().Bool("replace", false, "put aside what the directory holds")
	without := cmd.Flags().StringArray("without", nil, "leave out clients whose ids match `pattern`, in which * is any text without a slash; repeatable")
	var name string
	storeWork(cmd, w, func(out io.Writer, dir string) error {
		return storetool.Import(out, storetool.Importing{File: name, Dir: dir, Replace: *replace, Without: *without, Now: time.Now()})
	})
	run := cmd.RunE
	cmd.Args = command.MaxArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New("which file is to be imported?")
		}
		for _, pattern := range *without {
			if _, err := path.Match(pattern, ""); err != nil {
				return fmt.Errorf("--without %s: %w", pattern, err)
			}
		}
		name = args[0]
		return run(cmd, args)
	}
	return cmd
}

func salvageFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("salvage", false, "read what can be read of a damaged database")
}

// storeWork gives a command the flags that say where the directory is, and has
// do work on that.
func storeWork(cmd *cobra.Command, w command.World, do func(out io.Writer, dir string) error) {
	cmd.Args = command.MaxArgs(0)
	dir := cmd.Flags().String("data-dir", "", "look into `directory`")
	from := cmd.Flags().String("config", "", "read the configuration that names the directory from `file`")
	cmd.RunE = command.Work(func(cmd *cobra.Command, _ []string) error {
		at, err := dataDir(cmd.Context(), w, *dir, file{name: *from})
		if err != nil {
			return err
		}
		out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
		return errors.Join(do(out, at), out.Flush())
	})
}

// dataDir is the directory that a flag names, or the one that serve would use.
func dataDir(ctx context.Context, w command.World, dir string, from file) (string, error) {
	var flags []config.Given
	if dir != "" {
		flags = append(flags, config.Given{Flag: "--data-dir", Key: config.FlagOf("data-dir"), Values: []string{dir}})
	}
	loaded, err := load(ctx, w, from, flags)
	if err != nil {
		return "", err
	}
	return loaded.DataDir, nil
}
