package bench

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// quantity reads a number such as 5, 2.5, 1K, 50k or 1M.
func quantity(text string) (float64, error) {
	digits, factor := text, 1.0
	switch {
	case strings.HasSuffix(text, "K"), strings.HasSuffix(text, "k"):
		digits, factor = text[:len(text)-1], 1e3
	case strings.HasSuffix(text, "M"), strings.HasSuffix(text, "m"):
		digits, factor = text[:len(text)-1], 1e6
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) {
		return 0, fmt.Errorf("%q is no number such as 100, 1K or 2.5M", text)
	}
	return n * factor, nil
}

func number(text string) (int, error) {
	n, err := quantity(text)
	if err != nil {
		return 0, err
	}
	if n != math.Trunc(n) || n > 1<<31 {
		return 0, fmt.Errorf("%q is no whole number", text)
	}
	return int(n), nil
}
