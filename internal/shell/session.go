package shell

import (
	"context"
	"fmt"
	"math"
	"strings"
)

func historyCommand() command {
	return command{
		name: "history", args: "[N | clear]", max: 1,
		short: "Show the last lines (default 20), or forget all",
		long: `The history is kept in a file of the user from one shell to the next, up to 1000 lines; lines with passwords are left
out. 'set history off' and the flag --no-history of midge shell turn it off. Up and down go through it at the prompt,
and Ctrl-R finds the line that contains what is typed.`,
		examples: []string{"history", "history 100", "history clear"},
		complete: func(*Shell, []string, string) []string { return []string{"clear"} },
		run: func(_ context.Context, s *Shell, in *input) error {
			count := 20
			if in.text(0) == "clear" {
				return s.history.clear()
			}
			if len(in.words) > 0 {
				if err := toNumber(&count, in.text(0), 1, math.MaxInt32); err != nil {
					return usagef("history %s: %w", in.text(0), err)
				}
			}
			var b strings.Builder
			for i := min(count, s.history.Len()) - 1; i >= 0; i-- {
				fmt.Fprintln(&b, printable(s.history.At(i)))
			}
			s.print(b.String())
			return nil
		},
	}
}

func echoCommand() command {
	return command{
		name: "echo", args: "[TEXT...]", max: -1,
		short:    "Print a text, for scripts",
		examples: []string{"echo 'now the retained ones'"},
		run: func(_ context.Context, s *Shell, in *input) error {
			var texts []string
			for _, w := range in.words {
				texts = append(texts, printable(w.text))
			}
			s.print(strings.Join(texts, " ") + "\n")
			return nil
		},
	}
}

func quitCommand(name string) command {
	return command{
		name:     name,
		short:    "Disconnect all clients and end",
		examples: []string{name},
		run:      func(context.Context, *Shell, *input) error { return errQuit },
	}
}
