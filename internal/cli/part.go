package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"midge/internal/cli/command"
)

// part is what a build tag leaves out of the program (docs/dependencies.md). Each
// has two files: part_NAME.go for where it is there, and part_NAME_left_out.go for
// where it is not. No other file imports it.
type part struct {
	name     string
	leftOut  bool
	commands func(w command.World) []*cobra.Command
}

// leftOut is a part that isn't there. Its commands say so; help and completion
// don't offer them.
func leftOut(name string, commands ...string) part {
	return part{name, true, func(command.World) (all []*cobra.Command) {
		for _, c := range commands {
			all = append(all, &cobra.Command{
				Use: c, Hidden: true, DisableFlagParsing: true,
				RunE: command.Work(func(*cobra.Command, []string) error {
					return fmt.Errorf("%s is not in this binary, which was built without the part %s; 'make build' builds all parts", c, name)
				}),
			})
		}
		return all
	}}
}
