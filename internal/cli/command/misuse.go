package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Hint says where the help is that a wrong command line asks for.
func Hint(cmd *cobra.Command) string {
	if cmd.HasParent() {
		return fmt.Sprintf("Run '%s --help' for its flags and examples.", cmd.CommandPath())
	}
	return "Run 'midge --help' for the commands, and 'midge COMMAND --help' for one of them."
}

// MaxArgs is the check of a command that takes up to n arguments.
func MaxArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return fmt.Errorf("%q is too much: write %s", args[n], cmd.UseLine())
	}
}

// FlagError says in words what is wrong with a flag's value.
func FlagError(_ *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		f := e.GetFlag()
		return fmt.Errorf("%s %s: %s", written(f), e.GetValue(), wanted(f, e))
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		placeholder, _ := pflag.UnquoteUsage(e.GetFlag())
		return fmt.Errorf("%s needs a value: %s", written(e.GetFlag()), placeholder)
	}
	return err
}

// wanted is what the value of a flag can be, or what the flag says about the
// value.
func wanted(f *pflag.Flag, err *pflag.InvalidValueError) string {
	switch f.Value.Type() {
	case "uint8":
		return "it is a whole number from 0 to 255"
	case "uint16":
		return "it is a whole number from 0 to 65535"
	case "uint32":
		return "it is a whole number from 0 to 4294967295"
	case "int":
		return "it is a whole number"
	case "float64":
		return "it is a number"
	case "duration":
		return "it is a time, such as 500ms or 2m"
	case "bool":
		return "it is true or false"
	}
	return errors.Unwrap(err).Error()
}

// written is a flag as most users write it.
func written(f *pflag.Flag) string {
	if f.Shorthand != "" {
		return "-" + f.Shorthand
	}
	return "--" + f.Name
}

// OneOf returns which of the flags was given, "" if none was. More than one is
// an error.
func OneOf(flags *pflag.FlagSet, names ...string) (name string, err error) {
	var found []string
	for _, n := range names {
		if flags.Changed(n) {
			name = n
			found = append(found, written(flags.Lookup(n)))
		}
	}
	if len(found) > 1 {
		return "", fmt.Errorf("%s exclude each other", strings.Join(found, " and "))
	}
	return name, nil
}
