//go:build !without_ldap

package cli

import (
	"github.com/spf13/cobra"

	"midge/internal/cli/command"
)

// ldapPart has no commands: what it carries is a link (internal/app).
func ldapPart() part {
	return part{name: "ldap", commands: func(command.World) []*cobra.Command { return nil }}
}
