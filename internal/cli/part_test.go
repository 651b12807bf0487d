package cli

import (
	"errors"
	"io"
	"testing"

	"github.com/spf13/cobra"

	"midge/internal/cli/command"
)

// TestLeftOut proves that the commands of a part which isn't there say so, whatever
// follows them, and that help doesn't offer them. test/parts builds without parts.
func TestLeftOut(t *testing.T) {
	for _, args := range [][]string{{"tell"}, {"tell", "--help"}, {"tell", "-x", "a", "--", "b"}} {
		root := &cobra.Command{Use: "midge", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(leftOut("words", "say", "tell").commands(command.World{})...)
		root.SetArgs(args)
		root.SetOut(io.Discard)
		err := root.Execute()
		const want = "tell is not in this binary, which was built without the part words; 'make build' builds all parts"
		if _, failed := errors.AsType[*command.Failure](err); !failed || err.Error() != want {
			t.Errorf("%q: %v, want the failure %s", args, err, want)
		}
		for _, c := range root.Commands() {
			if (c.Name() == "say" || c.Name() == "tell") && c.IsAvailableCommand() {
				t.Errorf("%q: help offers %s", args, c.Name())
			}
		}
	}
}
