package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"midge/internal/cli/command"
	"midge/internal/config"
)

func configCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and show the configuration",
		Long: `The configuration of a broker comes from flags, from the environment (MIDGE_...), from etcd if config.etcd.endpoints
is set, from a file and from the defaults, in this order. The file is the one that --config or MIDGE_CONFIG names, or
midge.toml in the current directory if there is one. A mosquitto.conf is understood, too.`,
		Example: "  midge config check\n  midge config reference",
		Args:    cobra.ArbitraryArgs,
		RunE:    command.NeedSubcommand,
	}
	check := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Report all faults of a file, or the settings that differ from the defaults",
		Long: `Reads FILE, or the file that 'midge serve' would read, the environment, and etcd if they ask for it. It prints all faults with their
lines and exits with status 1, or prints the settings that differ from the defaults and where they come from.`,
		Example: "  midge config check\n  midge config check /etc/midge/midge.toml",
		Args:    command.MaxArgs(1),
		RunE: command.Work(func(cmd *cobra.Command, args []string) error {
			l, err := load(cmd.Context(), w, file{name: strings.Join(args, "")}, nil)
			if err != nil {
				return err
			}
			return printCheck(cmd.OutOrStdout(), l)
		}),
	}
	show := &cobra.Command{
		Use:     "show [FILE]",
		Short:   "Print all settings as they would be in force, as a file",
		Long:    "Prints a complete file. A comment behind each setting that is not a default says where it comes from.",
		Example: "  midge config show\n  midge config show > midge.toml",
		Args:    command.MaxArgs(1),
		RunE: command.Work(func(cmd *cobra.Command, args []string) error {
			l, err := load(cmd.Context(), w, file{name: strings.Join(args, "")}, nil)
			if err != nil {
				return err
			}
			return printAll(cmd.OutOrStdout(), l)
		}),
	}
	reference := &cobra.Command{
		Use:     "reference",
		Short:   "Print the reference page of all settings, in Markdown",
		Long:    "Prints what each setting is for, its default and the reason for it, its type and its flag, and how its variable in the\nenvironment is called.",
		Example: "  midge config reference | less",
		Args:    command.MaxArgs(0),
		RunE: command.Work(func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), config.Reference())
			return err
		}),
	}
	cmd.AddCommand(check, show, reference, convertCommand(w))
	return cmd
}

// read names the file that was read.
func read(l *config.Loaded) string {
	if l.FileName == "" {
		return "no file (" + defaultFile + " does not exist here)"
	}
	return l.FileName
}

func printCheck(w io.Writer, l *config.Loaded) error {
	var b strings.Builder
	for _, warning := range l.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", warning)
	}
	fmt.Fprintf(&b, "%s: no faults\n", read(l))
	same := true
	for _, v := range l.Values() {
		if !v.Same {
			same = false
			fmt.Fprintf(&b, "%s = %s  # %s\n", v.Key, v.TOML, v.Origin)
		}
	}
	for i := range l.Listeners {
		for _, v := range l.Listeners[i].Own() {
			same = false
			fmt.Fprintf(&b, "listener.%s.%s = %s  # %s\n", l.Listeners[i].Name(), v.Key, v.TOML, v.Origin)
		}
	}
	if same {
		b.WriteString("all settings have their defaults\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printAll(w io.Writer, l *config.Loaded) error {
	var b strings.Builder
	section := ""
	for _, v := range l.Values() {
		name := v.Key
		if s, rest, ok := strings.Cut(v.Key, "."); ok {
			if s != section {
				fmt.Fprintf(&b, "\n[%s]\n", s)
			}
			section, name = s, rest
		}
		printValue(&b, name, &v)
	}
	for i := range l.Listeners {
		own := l.Listeners[i].Own()
		if len(own) > 0 {
			b.WriteString("\n[[listener]]\n")
		}
		for _, v := range own {
			printValue(&b, v.Key, &v)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printValue(b *strings.Builder, name string, v *config.Value) {
	fmt.Fprintf(b, "%s = %s  # %s", name, v.TOML, v.Origin)
	if v.Restart {
		b.WriteString("; a change needs a restart")
	}
	b.WriteByte('\n')
}
