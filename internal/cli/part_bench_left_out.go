//go:build without_bench

package cli

func benchPart() part { return leftOut("bench", "bench") }
