//go:build without_hook

package cli

func hookPart() part { return leftOut("hook") }
