package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"midge/internal/app/storetool"
	"midge/internal/cli/command"
	"midge/internal/config"
)

func completionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the script by which a shell completes commands, flags and values",
		Long: `Prints a script for SHELL, which is bash, zsh or fish. The shell reads it when it starts, and from then on Tab completes
commands, flags, and the values of flags that have only some. bash needs its package bash-completion.

Where the script belongs:

  bash  ~/.local/share/bash-completion/completions/midge
  zsh   a file _midge in a directory of $fpath, such as /usr/local/share/zsh/site-functions/_midge
  fish  ~/.config/fish/completions/midge.fish`,
		Example: `  midge completion bash > ~/.local/share/bash-completion/completions/midge
  midge completion zsh > /usr/local/share/zsh/site-functions/_midge
  midge completion fish > ~/.config/fish/completions/midge.fish`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []cobra.Completion{"bash", "zsh", "fish"},
	}
	cmd.RunE = command.Work(func(cmd *cobra.Command, args []string) error {
		root, out := cmd.Root(), cmd.OutOrStdout()
		switch args[0] {
		case "bash":
			return root.GenBashCompletionV2(out, true)
		case "zsh":
			return root.GenZshCompletion(out)
		}
		return root.GenFishCompletion(out, true)
	})
	return cmd
}

// choices are the values of flags that have only some. The key is the name of
// a flag, or the command that it belongs to and its name.
func choices() map[string][]cobra.Completion {
	return map[string][]cobra.Completion{
		"qos":                {"0", "1", "2"},
		"will-qos":           {"0", "1", "2"},
		"subscriber-qos":     {"0", "1", "2"},
		"retain-handling":    {"0\talways", "1\tif the subscription is new", "2\tnever"},
		"protocol-version":   {"5", "311", "31"},
		"mqtt":               {"3.1.1", "5.0"},
		"tls-version":        {"tlsv1.1", "tlsv1.2", "tlsv1.3"},
		"log-level":          {"debug", "info", "warn", "error"},
		"kind":               {storetool.Queued, storetool.Retained, storetool.Will},
		"midge bench output": {"table", "json", "go\tfor benchstat"},
		"midge bench filter": {"topic", "plus", "all", "wildcard", "shared"},
	}
}

// unquote takes the quotes of placeholders out of what the flags of a command
// and its subcommands say: a shell shows it as it is.
func unquote(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { _, f.Usage = pflag.UnquoteUsage(f) })
	for _, sub := range cmd.Commands() {
		unquote(sub)
	}
}

// complete tells cobra what the values of flags and the arguments of the
// command and its subcommands can be.
func complete(cmd *cobra.Command) {
	all := choices()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		values, ok := all[cmd.CommandPath()+" "+f.Name]
		if !ok {
			values, ok = all[f.Name]
		}
		var of cobra.CompletionFunc
		switch placeholder, _ := pflag.UnquoteUsage(f); {
		case ok:
			of = cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
		case f.Name == "set":
			of = settingKeys
		case f.Name == "config", f.Name == "file" && cmd.Name() == "bench":
			of = cobra.FixedCompletions([]cobra.Completion{"toml"}, cobra.ShellCompDirectiveFilterFileExt)
		case placeholder == "directory":
			of = directories
		case placeholder == "file", placeholder == "path":
			return // the shell completes files
		default:
			of = cobra.NoFileCompletions
		}
		if err := cmd.RegisterFlagCompletionFunc(f.Name, of); err != nil {
			panic(err) // only if a command completes a flag by itself as well
		}
	})
	if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 {
		cmd.ValidArgsFunction = arguments(cmd)
	}
	for _, sub := range cmd.Commands() {
		complete(sub)
	}
}

// arguments completes what follows the flags, by what the command calls it.
func arguments(cmd *cobra.Command) cobra.CompletionFunc {
	switch {
	case strings.Contains(cmd.Use, "[FILE]"), strings.Contains(cmd.Use, ".toml"):
		return tomlFile
	}
	return cobra.NoFileCompletions
}

// tomlFile completes to a single file of TOML.
func tomlFile(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []cobra.Completion{"toml"}, cobra.ShellCompDirectiveFilterFileExt
}

func directories(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// settingKeys completes to the keys of the configuration.
func settingKeys(*cobra.Command, []string, string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
	l, err := config.Load(config.Sources{})
	if err != nil {
		cobra.CompError("midge: " + err.Error() + "\n")
		return nil, cobra.ShellCompDirectiveError
	}
	for _, v := range l.Values() {
		all = append(all, cobra.CompletionWithDesc(v.Key+"=", v.TOML))
	}
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
