// Package bench is the command midge bench, and compare below it. It reads their
// flags, and leaves the work to the packages bench and bench/compare.
//
// Files, from the bottom up: progress.go, compare.go, bench.go.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"midge/internal/bench"
	"midge/internal/cli/command"
	"midge/internal/packet"
)

// errFaulty is the failure of a run that found the broker at fault. The
// result has said everything else.
var errFaulty = errors.New("the broker is at fault: see above")

// Commands are the commands of the package: 'midge bench' with its subcommands.
func Commands(w command.World) []*cobra.Command { return []*cobra.Command{benchCommand(w)} }

func benchCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench [SCENARIO]",
		Short: "Measure a broker",
		Long: `Connects many clients to a broker, publishes and subscribes as the scenario says, and prints rates, latencies, losses
and what it cost the broker. The broker may be any that speaks MQTT 3.1.1 or 5.0.

SCENARIO is one of the names below, in which numbers may have K or M behind them. RATE is in messages per second, summed
over all subscribers. Flags and --file change it, or make one of their own.

` + names() + `
The exit status is 1 if the broker loses, repeats or reorders messages, breaks the protocol, refuses connections or ends
them, and if the run is interrupted (Ctrl-C, SIGTERM): the result is then of what was measured until then, and says so; a
second time ends at once. Latency counts from the time at which a message was due, so that a broker that stalls is charged for it.`,
		Example: `  midge bench p2p-1K-1K-1K-1K
  midge bench fanout-1-1K-1-1K --address 192.0.2.7:1883 --mqtt 5.0
  midge bench throughput-100 --pid $(pidof mosquitto) --duration 30s -o json
  midge bench --publishers 10 --subscribers 10 --rate 5K --size 200 --qos 2
  midge bench --file scenario.toml -o go | benchstat -`,
		Args:              command.MaxArgs(1),
		ValidArgsFunction: scenarios,
	}
	var o options
	o.flags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := o.scenario(cmd.Flags(), args)
		if err != nil {
			return err
		}
		if !slices.Contains([]string{"table", "json", "go"}, o.output) {
			return fmt.Errorf("--output %s: it can be table, json, go", o.output)
		}
		if err := o.version(); err != nil {
			return err
		}
		return command.Work(func(cmd *cobra.Command, _ []string) error { return o.run(cmd, w, s) })(cmd, args)
	}
	cmd.AddCommand(compareCommand(w), workerCommand())
	return cmd
}

// workerCommand is how 'midge bench' starts further processes of itself.
func workerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "worker",
		Short:  "Make a part of the load, as 'midge bench' says on standard input",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: command.Work(func(cmd *cobra.Command, _ []string) error {
			// Ctrl-C and service managers signal all processes at once. The
			// coordinator, which has to tell the result, says what to do, and
			// its end is the end of standard input.
			signal.Ignore(os.Interrupt, syscall.SIGTERM)
			defer signal.Reset(os.Interrupt, syscall.SIGTERM)
			return bench.Work(context.WithoutCancel(cmd.Context()), cmd.InOrStdin(), cmd.OutOrStdout())
		}),
	}
}

// names lists the scenarios that have names.
func names() string {
	var b strings.Builder
	for _, n := range bench.Names() {
		fmt.Fprintf(&b, "  %s\n      %s (%s)\n", n.Pattern, n.About, n.Example)
	}
	return b.String()
}

// options are the flags that aren't settings of a scenario.
type options struct {
	target   bench.Target
	options  bench.Options
	file     string
	mqtt     string
	output   string
	progress bool
}

func (o *options) flags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVarP(&o.target.Address, "address", "a", "127.0.0.1:1883", "measure the broker at this `address`: HOST:PORT, or a URL with mqtt, mqtts, ws or wss")
	f.IntVar(&o.target.PID, "pid", 0, "measure CPU time, memory and threads of the broker, which is this process `id` (found by the port where the broker runs on this machine)")
	f.StringVar(&o.target.Name, "broker", "", "call the broker by this `name` in the result")
	f.StringVar(&o.mqtt, "mqtt", "", "speak this `version` of MQTT, 3.1.1 or 5.0 (3.1.1, where the scenario doesn't need 5.0)")
	f.StringVarP(&o.target.Username, "username", "u", "", "log in as `user`")
	f.StringVarP(&o.target.Password, "password", "P", "", "log in with `password`")
	f.StringVar(&o.target.TLS.CAFile, "cafile", "", "trust the certificates in this PEM `file` instead of the system's")
	f.StringVar(&o.target.TLS.CertFile, "cert", "", "show the certificate in this PEM `file`")
	f.StringVar(&o.target.TLS.KeyFile, "key", "", "with the key in this PEM `file`")
	f.StringVar(&o.target.TLS.ServerName, "server-name", "", "expect a certificate for this `name`")
	f.BoolVar(&o.target.TLS.Insecure, "insecure", false, "take any certificate")
	f.IntVar(&o.options.Procs, "procs", 0, "make the load with this `number` of processes (one, unless the limit of open files asks for more)")
	f.StringSliceVar(&o.options.Sources, "source", nil, "connect from these local `addresses`")
	f.StringVarP(&o.output, "output", "o", "table", "print the result in this `form`: table, json, or go (for benchstat)")
	f.BoolVar(&o.progress, "progress", false, "tell on standard error how it gets on, also where that isn't a terminal")
	f.StringVarP(&o.file, "file", "f", "", "read settings of the scenario from a TOML `file`; its key \"scenario\" may name one to begin with")
	for _, s := range flagSettings() {
		name := flagOfSetting(s.Key)
		if s.Bool {
			f.Bool(name, false, s.Usage)
		} else {
			f.String(name, "", s.Usage)
		}
	}
}

// flagSettings are the settings of a scenario that are flags.
func flagSettings() []bench.Setting {
	return slices.DeleteFunc(bench.Settings(), func(s bench.Setting) bool { return s.Plan })
}

func flagOfSetting(key string) string { return strings.ReplaceAll(key, "_", "-") }

// scenario is what the argument, the file and the flags make together; each
// overrides the one before.
func (o *options) scenario(f *pflag.FlagSet, args []string) (bench.Scenario, error) {
	table := map[string]any{}
	if o.file != "" {
		text, err := os.ReadFile(o.file)
		if err != nil {
			return bench.Scenario{}, err
		}
		if table, err = bench.DecodeTable(text); err != nil {
			return bench.Scenario{}, fmt.Errorf("%s: %w", o.file, err)
		}
	}
	if len(args) > 0 {
		table["scenario"] = args[0]
	}
	for _, s := range flagSettings() {
		if flag := f.Lookup(flagOfSetting(s.Key)); flag.Changed {
			table[s.Key] = flag.Value.String()
		}
	}
	if len(table) == 0 {
		return bench.Scenario{}, errors.New("no scenario: name one, such as p2p-1K-1K-1K-1K, or set --publishers and --subscribers")
	}
	return bench.ParseTable(table)
}

func (o *options) version() error {
	switch o.mqtt {
	case "":
	case "3.1.1", "4", "311":
		o.target.Version = packet.V311
	case "5", "5.0":
		o.target.Version = packet.V5
	default:
		return fmt.Errorf("--mqtt %s: it can be 3.1.1 or 5.0", o.mqtt)
	}
	return nil
}

func (o *options) run(cmd *cobra.Command, w command.World, s bench.Scenario) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	o.options.Worker = []string{program, "bench", "worker"}
	o.options.Command = strings.Join(append([]string{"midge"}, w.Args...), " ")
	o.options.Build = command.Build()
	live := &progressLine{out: cmd.ErrOrStderr(), terminal: command.IsTerminal(w.Stderr)}
	o.options.Log = live
	if o.progress || live.terminal {
		o.options.Progress = live.show
	}
	r, err := bench.Run(cmd.Context(), o.target, s, o.options)
	live.end()
	if err != nil {
		return err
	}
	switch o.output {
	case "json":
		err = r.WriteJSON(cmd.OutOrStdout())
	case "go":
		err = r.WriteGo(cmd.OutOrStdout())
	default:
		err = r.WriteTable(cmd.OutOrStdout())
	}
	if err != nil {
		return err
	}
	if o.output != "table" || !command.IsTerminal(w.Stdout) { // else they were seen just now
		for _, f := range r.Faults {
			fmt.Fprintf(cmd.ErrOrStderr(), "FAULT: %s\n", f)
		}
	}
	switch {
	case r.Failed():
		return errFaulty
	case r.Interrupted > 0:
		return fmt.Errorf("interrupted after %.1fs: the result is of what was measured until then", r.Interrupted)
	}
	return nil
}

// scenarios completes to the examples of names that 'midge bench' knows.
func scenarios(_ *cobra.Command, args []string, _ string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, n := range bench.Names() {
		all = append(all, cobra.CompletionWithDesc(n.Example, n.About))
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}
