package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"midge/internal/cli/command"
	"midge/internal/config"
	"midge/internal/mosquitto/conf"
)

func convertCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "convert FILE",
		Short: "Write the file of this broker that means the same as a mosquitto.conf",
		Long: `Reads a configuration file of Mosquitto and those that it includes, and writes a file of this broker to standard
output. Behind each setting stands the line that it comes from. Lines that could not be taken over stand at the end
with the reason and what to do instead; they are told on standard error, too. A listener that would be open to more
than it is in Mosquitto is written as a comment.

The exit status is 1 if the file has lines that Mosquitto refuses as well, or, with --require-all, any that could not
be taken over.`,
		Example: "  midge config convert /etc/mosquitto/mosquitto.conf > midge.toml\n  midge config convert --require-all mosquitto.conf > midge.toml",
		Args:    command.MaxArgs(1),
	}
	all := requireAllFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New("which file is to be converted?")
		}
		return command.Work(func(cmd *cobra.Command, args []string) error {
			files, err := conf.Read(args[0])
			if err != nil {
				return fmt.Errorf("read configuration: %w", err)
			}
			return printConverted(cmd.OutOrStdout(), w.Stderr, conf.Convert(files), *all)
		})(cmd, args)
	}
	return cmd
}

func requireAllFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("require-all", false, "fail unless every line of a mosquitto.conf can be taken over")
}

// printConverted writes what was made of a file, and what is missing from it.
func printConverted(out, warn io.Writer, made *conf.Converted, all bool) error {
	for i := range made.Findings {
		if f := &made.Findings[i]; f.Kind > conf.Same {
			fmt.Fprintf(warn, "%s: %v\n", map[bool]string{true: "error", false: "warning"}[f.Kind == conf.Fault], f)
		}
	}
	if _, err := out.Write(made.TOML); err != nil {
		return err
	}
	if worst := made.Worst(); worst == conf.Fault || all && worst > conf.Same {
		return command.ErrSilent
	}
	return nil
}

// keyValue is how the first line of a file begins that is one of this broker: a
// section, or a key and an equals sign. No option of Mosquitto is followed by one.
var keyValue = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(\[|[A-Za-z0-9_."'-]+[ \t]*=)`) })

// isMosquitto reports whether a file is one of Mosquitto, by its first line that
// says something, and by its name if there is none.
func isMosquitto(name string, text []byte) bool {
	if filepath.Ext(name) == ".toml" {
		return false
	}
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return !keyValue().Match(line)
		}
	}
	return filepath.Ext(name) == ".conf"
}

// readMosquitto makes the sources have what a file of Mosquitto says. It returns
// what was made of that; all says that it is an error to do without any of it.
func readMosquitto(src *config.Sources, all bool) (*conf.Converted, error) {
	files, err := conf.Read(src.FileName)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	made := conf.Convert(files)
	least := conf.Blocking
	if all {
		least = conf.Missing
	}
	var refused []string
	for i := range made.Findings {
		if f := &made.Findings[i]; f.Kind >= least {
			refused = append(refused, f.String())
		}
	}
	if refused != nil {
		return nil, errors.New(strings.Join(refused, "\n") + "\nthe broker would not do what " + src.FileName + " says; 'midge config convert' writes a file without these lines")
	}
	src.File = made.TOML
	src.From = func(line int) (string, int) {
		l := made.From[line]
		return l.File, l.Number
	}
	return made, nil
}

// warnings are what to say of a file of Mosquitto: what the broker does without,
// and that it begins anew where Mosquitto has something.
func warnings(made *conf.Converted, l *config.Loaded) (all []string) {
	for i := range made.Findings {
		if f := &made.Findings[i]; f.Kind == conf.Missing {
			all = append(all, f.String())
		}
	}
	if _, err := os.Stat(made.Persisted); made.Persisted == "" || err != nil || l.Durability == "none" {
		return all
	}
	if _, err := os.Stat(l.DataDir); errors.Is(err, fs.ErrNotExist) {
		all = append(all, fmt.Sprintf("%s has what Mosquitto has kept, and %s does not exist; 'midge store import --config %s %[1]s' takes it over", made.Persisted, l.DataDir, l.FileName))
	}
	return all
}
