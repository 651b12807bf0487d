package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"midge/internal/cli/command"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version, Go version, system and commit of this binary",
		Long:    "Prints one line: the version, the commit if it was built inside its repository, the Go version, the system, and the parts\nthat it was built without.",
		Example: "  midge version",
		Args:    command.MaxArgs(0),
		RunE: command.Work(func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), command.Build()+without())
			return err
		}),
	}
}
