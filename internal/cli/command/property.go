package command

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Separator joins the words of a property to the one value that a flag can
// have. No MQTT string may contain it (U+0000).
const Separator = "\x00"

// JoinProperties turns -D command identifier value, which is three or four
// words on a command line, into one argument. It touches only commands that
// have the flag.
func JoinProperties(root *cobra.Command, args []string) []string {
	cmd, _, err := root.Find(args)
	if err != nil || cmd.Flags().Lookup("property") == nil {
		return args
	}
	var out []string
	for len(args) > 0 {
		arg := args[0]
		switch words := propertyWords(args[1:]); {
		case arg == "--":
			return append(out, args...)
		case (arg == "-D" || arg == "--property") && words > 0:
			out = append(out, "--property="+strings.Join(args[1:1+words], Separator))
			args = args[1+words:]
		case takesNext(cmd.Flags(), arg) && len(args) > 1:
			out, args = append(out, arg, args[1]), args[2:]
		default:
			out, args = append(out, arg), args[1:]
		}
	}
	return out
}

// propertyWords tells how many of the words that follow -D belong to it: 0 if
// one has all the words.
func propertyWords(words []string) int {
	n := 3
	switch {
	case len(words) == 0 || strings.ContainsAny(words[0], Separator+" "):
		return 0
	case len(words) > 1 && strings.EqualFold(words[1], "user-property"):
		n = 4
	}
	return min(n, len(words)) // too few: apply says so
}

// takesNext reports whether arg is a flag whose value is the next argument.
func takesNext(flags *pflag.FlagSet, arg string) bool {
	if name, long := strings.CutPrefix(arg, "--"); long {
		f := flags.Lookup(name)
		return f != nil && f.NoOptDefVal == ""
	}
	flagChars, short := strings.CutPrefix(arg, "-")
	if !short {
		return false
	}
	for i := range len(flagChars) {
		f := flags.ShorthandLookup(flagChars[i : i+1])
		if f == nil {
			return false
		}
		if f.NoOptDefVal == "" {
			return i == len(flagChars)-1
		}
	}
	return false
}
