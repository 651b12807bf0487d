//go:build without_clients

package cli

func clientsPart() part { return leftOut("clients", "pub", "sub", "shell", "top") }
