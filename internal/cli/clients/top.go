package clients

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"midge/internal/cli/command"
	"midge/internal/top"
)

func topCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch a broker: clients, rates, drops, queues, disk",
		Long: `Shows what a broker publishes about itself under $SYS/broker/, and follows it: clients, messages and bytes per second
with their past, what was dropped, what is kept, and how the disk does. It works with Midge and with other brokers that
use Mosquitto's names; what a broker doesn't tell is left out.

On a terminal it shows a page: q quits, p pauses, + and - change the interval, ? explains. Where standard output is no
terminal, or with --plain, it prints a line of key=value for each change, and one with lost= when the connection ends,
which it opens again. With --once it prints one page and ends.

New values come as often as the broker publishes them: for Midge the setting sys.interval, 10 seconds by default.`,
		Example: `  midge top
  midge top -h broker.example -u admin --pw-file secret --cafile ca.pem
  midge top --once
  midge top --plain --interval 1m >> broker.log`,
		Args: command.MaxArgs(0),
	}
	connect := addConnectFlags(cmd.Flags())
	once := cmd.Flags().Bool("once", false, "print one page and end")
	plain := cmd.Flags().Bool("plain", false, "print lines of key=value, also on a terminal")
	interval := cmd.Flags().Duration("interval", time.Second, "the shortest `time` between two points or lines; + and - change it")
	wait := cmd.Flags().Duration("wait", 15*time.Second, "give up if the broker tells nothing for this `time` at first")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, _, err := connect.options(nil)
		switch {
		case err != nil:
			return err
		case *once && *plain:
			return errors.New("--once and --plain exclude each other")
		case *interval < time.Second:
			return errors.New("--interval: the least is 1s")
		case *wait <= 0:
			return errors.New("--wait: write a time, such as 15s")
		}
		return command.Work(func(cmd *cobra.Command, _ []string) error {
			return top.Run(cmd.Context(), top.Options{
				Client: options, Timeout: connect.timeout, Interval: *interval, Wait: *wait, Once: *once, Plain: *plain, Out: w.Stdout,
			})
		})(cmd, args)
	}
	return cmd
}
