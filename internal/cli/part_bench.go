//go:build !without_bench

package cli

import "midge/internal/cli/bench"

func benchPart() part { return part{name: "bench", commands: bench.Commands} }
