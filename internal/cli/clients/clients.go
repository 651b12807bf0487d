// Package clients is the commands that are MQTT clients: pub, sub, shell and top.
// It reads their flags, and leaves the work to the packages pubsub, shell and top.
//
// Files, from the bottom up: property.go, tls.go, connect.go, pub.go, sub.go,
// shell.go, top.go, clients.go.
package clients

import (
	"github.com/spf13/cobra"

	"midge/internal/cli/command"
)

// Commands are the commands of the package.
func Commands(w command.World) []*cobra.Command {
	return []*cobra.Command{pubCommand(w), subCommand(w), shellCommand(w), topCommand(w)}
}
