//go:build !without_clients

package cli

import "midge/internal/cli/clients"

func clientsPart() part { return part{name: "clients", commands: clients.Commands} }
