//go:build linux

package harness

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// Median returns the median, or 0 without samples.
func Median(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(samples))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Number writes three digits, or all before the point.
func Number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// FirstLine returns the first line that a command prints, whatever its exit status: mosquitto -h ends with 3.
func FirstLine(name string, args ...string) string {
	text, _ := exec.Command(name, args...).Output()
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// CPUModel returns the name of the processor.
func CPUModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
