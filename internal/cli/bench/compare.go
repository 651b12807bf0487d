package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"midge/internal/bench"
	"midge/internal/bench/compare"
	"midge/internal/cli/command"
)

// errCompared is the failure of a comparison in which a run failed. Its log
// and its reports have said everything else.
var errCompared = errors.New("there were faults: see above, and the report")

func compareCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compare PLAN.toml",
		Short: "Measure several brokers against each other, and write a report with plots",
		Long: `Starts the brokers of the plan in turn, each on a free port, in a process group of its own and anew for each run, and
measures them under the plan's scenarios in interleaved rounds. It writes five files: the report as Markdown (.md), as one
HTML page with plots (.html), a picture (.svg), all results (.json), and all rounds in the Go benchmark format (.txt; try
benchstat -col /broker).

A plan has [[broker]] and [[scenario]] sections:

  rounds = 3
  base = "mosquitto"          # ratios refer to it; the first broker otherwise

  [[broker]]
  name = "mosquitto"
  command = ["mosquitto", "-c", "{dir}/mosquitto.conf"]
  version = ["mosquitto", "-h"]
  files = { "mosquitto.conf" = "listener {port} 127.0.0.1\nallow_anonymous true\n" }

  [[scenario]]
  scenario = "p2p-1K-1K-1K-1K"   # a name, settings of 'midge bench' (publishers = 10 …), or both
  duration = "5s"

In the words of a broker, {port} is a free port ({port2} to {port9} are others), {dir} the run's own directory, in which
the broker runs, {plan} the directory of the plan, {midge} this program, and {tmp} a directory for what "build" makes.
docs/bench.md has all keys.

The exit status is 1 if a run lost a message, broke the protocol or couldn't be finished; the report tells which. When
interrupted (Ctrl-C, SIGTERM), it stops the broker, reports the runs that were finished, and ends with status 1 too.`,
		Example: `  midge bench compare bench/plans/quick.toml
  midge bench compare bench/plans/brokers.toml --rounds 5 --out results/today
  midge bench compare bench/plans/brokers.toml --broker midge --broker mochi --scenario pairs-qos1
  midge bench compare --from results/today.json --out results/again`,
		Args: command.MaxArgs(1),
	}
	var o compareOptions
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.out, "out", "o", "", "write files that begin with this `path` (the plan's name, in the working directory)")
	f.IntVar(&o.rounds, "rounds", 0, "run this `number` of rounds instead of the plan's")
	f.StringSliceVar(&o.brokers, "broker", nil, "take only the broker of this `name`; repeatable")
	f.StringSliceVar(&o.scenarios, "scenario", nil, "take only the scenario of this `name`; repeatable")
	f.StringVar(&o.commit, "commit", "", "mention this `commit` of what is measured (that of this program)")
	f.StringVar(&o.from, "from", "", "measure nothing, and write the reports anew from the results in this JSON `file`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (o.from == "") == (len(args) == 0) {
			return errors.New("want a plan, or --from with a file of results")
		}
		if o.rounds < 0 || o.rounds > compare.MaxRounds {
			return fmt.Errorf("--rounds %d: it can be 1 to %d", o.rounds, compare.MaxRounds)
		}
		return command.Work(func(cmd *cobra.Command, args []string) error { return o.run(cmd, w, args) })(cmd, args)
	}
	return cmd
}

// compareOptions are the flags of 'midge bench compare'.
type compareOptions struct {
	out, from, commit  string
	rounds             int
	brokers, scenarios []string
}

func (o *compareOptions) run(cmd *cobra.Command, w command.World, args []string) error {
	var c *compare.Comparison
	var err error
	if o.from != "" {
		c, err = compare.Read(o.from)
	} else {
		c, err = o.measure(cmd, w, args[0])
	}
	if err != nil {
		return err
	}
	names, err := c.Write(o.prefix(args))
	if err != nil {
		return err
	}
	for _, name := range names {
		fmt.Fprintln(cmd.OutOrStdout(), name)
	}
	switch {
	case c.Failures() > 0:
		return errCompared
	case c.Failed():
		return errors.New(c.Incomplete)
	}
	return nil
}

// prefix is what the names of the files begin with.
func (o *compareOptions) prefix(args []string) string {
	switch {
	case o.out != "":
		return o.out
	case len(args) > 0:
		return strings.TrimSuffix(filepath.Base(args[0]), ".toml")
	}
	return strings.TrimSuffix(o.from, ".json")
}

func (o *compareOptions) measure(cmd *cobra.Command, w command.World, name string) (*compare.Comparison, error) {
	plan, err := compare.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if err := plan.Choose(o.brokers, o.scenarios); err != nil {
		return nil, err
	}
	if o.rounds > 0 {
		plan.Rounds = o.rounds
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	revision := cmp.Or(o.commit, strings.TrimPrefix(strings.Trim(command.Commit(), " ()"), "commit "))
	line := strings.Join(append([]string{"midge"}, w.Args...), " ")
	live := &progressLine{out: cmd.ErrOrStderr(), terminal: command.IsTerminal(w.Stderr)}
	runOptions := bench.Options{Discard: true, Worker: []string{program, "bench", "worker"}, Command: line, Build: command.Build()}
	if live.terminal {
		runOptions.Progress = live.show
	}
	return compare.Do(cmd.Context(), plan, compare.Options{
		Midge: program, Build: command.Build(), Commit: revision, Command: line, Log: cmd.ErrOrStderr(),
		Measure: func(ctx context.Context, t bench.Target, s bench.Scenario) (*bench.Result, error) {
			r, err := bench.Run(ctx, t, s, runOptions)
			if live.terminal {
				fmt.Fprint(cmd.ErrOrStderr(), "\r\x1b[K") // the summary of the run takes the line
			}
			return r, err
		},
	})
}
