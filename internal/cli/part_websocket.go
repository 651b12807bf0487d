//go:build !without_websocket

package cli

import (
	"github.com/spf13/cobra"

	"midge/internal/cli/command"
)

// webSocketPart has no commands: what it carries are listeners (internal/app).
func webSocketPart() part {
	return part{name: "websocket", commands: func(command.World) []*cobra.Command { return nil }}
}
