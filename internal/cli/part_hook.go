//go:build !without_hook

package cli

import (
	"github.com/spf13/cobra"

	"midge/internal/cli/command"
)

// hookPart has no commands: what it carries are settings (internal/app).
func hookPart() part {
	return part{name: "hook", commands: func(command.World) []*cobra.Command { return nil }}
}
