package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version is the version of this source. A release removes "-dev".
const Version = "0.1.0-dev"

// build says what this binary is, such as
// "midge 0.1.0-dev (commit 1a2b3c4d5e6f), go1.26.0, linux/amd64".
func build() string {
	return fmt.Sprintf("midge %s%s, %s, %s/%s", Version, commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// commit is the commit that the binary was built from, in brackets, or "" when
// it was not built inside a repository.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = " with changes"
		}
	}
	if revision == "" {
		return ""
	}
	return " (commit " + revision + changed + ")"
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version, Go version, system and commit of this binary",
		Long:    "Prints one line: the version, the commit if it was built inside its repository, the Go version, and the system.",
		Example: "  midge version",
		Args:    maxArgs(0),
		RunE: work(func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), build())
			return err
		}),
	}
}
