//go:build !without_etcd

package cli

import (
	"github.com/spf13/cobra"

	"midge/internal/cli/command"
	"midge/internal/etcd"
	"midge/internal/settings"
)

// etcdPart has no commands: what it carries are settings.
func etcdPart() part {
	return part{name: "etcd", commands: func(command.World) []*cobra.Command { return nil }}
}

// openEtcd returns a client of etcd, which has not connected yet.
func openEtcd(where *settings.Etcd) (etcdKeys, error) { return etcd.New(where) }
