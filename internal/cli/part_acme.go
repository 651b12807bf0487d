//go:build !without_acme

package cli

import (
	"github.com/spf13/cobra"

	"midge/internal/cli/command"
)

// acmePart has no commands: what it carries are certificates (internal/app).
func acmePart() part {
	return part{name: "acme", commands: func(command.World) []*cobra.Command { return nil }}
}
