package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"midge/internal/app"
	"midge/internal/cli/command"
	"midge/internal/config"
)

func serveCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the broker",
		Long: `Runs the broker until SIGINT or SIGTERM. It then stops accepting, tells 5.0 clients (DISCONNECT 0x8B), and ends
with status 0 within 5 seconds; a second signal ends it at once.

A file of Mosquitto is told from one of this broker by its first line, or by its name if that ends in .toml. What the
broker does without is warned of, line by line, or refused with --require-all. It does not start where it would be open
to more than Mosquitto is, or lack one of its listeners.

Each setting can also be given in a file and in the environment: see 'midge config --help', and
'midge config reference' for all of them.`,
		Example: `  midge serve
  midge serve --listen 127.0.0.1:1883 --listen tcp://[::1]:1883
  midge serve --config /etc/midge/midge.toml --log-level debug
  midge serve -c /etc/mosquitto/mosquitto.conf
  midge serve --memory --set limits.packet_size=16MiB --set sys.interval=0s`,
		Args: command.MaxArgs(0),
	}
	f := cmd.Flags()
	f.StringArray("listen", nil, "accept clients on `address`, as tcp://host:port; repeatable")
	from := f.StringP("config", "c", "", "read the configuration from `file`: one of this broker, or a mosquitto.conf")
	all := requireAllFlag(cmd)
	f.String("data-dir", "", "keep durable state in `directory`")
	f.Bool("memory", false, "keep all state in memory: nothing survives a restart")
	f.String("threads", "", "run shards on at most this `number` of threads (default: one per core)")
	f.String("log-level", "", "the least important lines to log: `level` debug, info, warn or error")
	f.StringArray("set", nil, "set any setting, as `key=value`; repeatable")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		flags, err := given(cmd.Flags())
		if err != nil {
			return err
		}
		return command.Work(func(cmd *cobra.Command, _ []string) error {
			return serve(cmd, w, file{*from, *all}, flags)
		})(cmd, nil)
	}
	return cmd
}

// given returns the settings that the flags carry. --set wins over the others.
func given(flags *pflag.FlagSet) (all []config.Given, err error) {
	flags.Visit(func(f *pflag.Flag) {
		g := config.Given{Flag: "--" + f.Name, Key: config.FlagOf(f.Name), Values: []string{f.Value.String()}}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			g.Values = list.GetSlice()
		}
		switch {
		case g.Key != "":
			all = append(all, g)
		case f.Name == "memory" && f.Value.String() == "true":
			all = append(all, config.Given{Flag: g.Flag, Key: "durability", Values: []string{"none"}})
		}
	})
	set, err := flags.GetStringArray("set")
	if err != nil {
		return nil, err
	}
	for _, text := range set {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("--set %s: write key=value", text)
		}
		all = append(all, config.Given{Flag: "--set", Key: strings.TrimSpace(key), Values: []string{strings.TrimSpace(value)}})
	}
	return all, nil
}

func serve(cmd *cobra.Command, w command.World, from file, flags []config.Given) error {
	all, err := allSources(cmd.Context(), w, from, flags)
	if err != nil {
		return err
	}
	loaded, err := all.load()
	if err != nil {
		return err
	}
	lines := newLogWriter(w.Stderr)
	defer lines.Close()
	log := logger(lines, loaded.Log)
	lines.Lost(func(n int) { log.Warn("log lines were lost: standard error took no more", "count", n) })
	for _, warning := range loaded.Warnings {
		log.Warn("configuration", "detail", warning)
	}
	again := &reloader{world: w, from: from, flags: flags, log: log, last: texts(&all.Sources), etcd: all.Etcd}
	if w.Outlived != nil {
		go again.outlive(cmd.Context(), w.Outlived())
	}
	broker, err := app.New(cmd.Context(), loaded, "midge "+command.Version, log)
	if err != nil {
		return err
	}
	again.running.Store(broker)
	if all.FileName != "" {
		go watch(cmd.Context(), all.FileName, again.changed, log)
	}
	if all.etcd != nil {
		go again.watchEtcd(cmd.Context(), broker, all)
	}
	log.Info("started", broker.Record(command.Version)...)
	if loaded.Log.Banner == "always" || loaded.Log.Banner == "auto" && command.IsTerminal(w.Stdout) {
		if _, err := io.WriteString(w.Stdout, broker.Banner(command.Build())); err != nil {
			log.Warn("banner not written", "error", err)
		}
	}
	return broker.Run(cmd.Context())
}
