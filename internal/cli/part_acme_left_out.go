//go:build without_acme

package cli

func acmePart() part { return leftOut("acme") }
