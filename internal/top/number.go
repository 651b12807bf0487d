package top

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// count writes a number of things with commas, and large ones shortened.
func count(n float64) string {
	switch {
	case n >= 1e10:
		return strconv.FormatFloat(n/1e9, 'f', 1, 64) + "G"
	case n >= 1e7:
		return strconv.FormatFloat(n/1e6, 'f', 1, 64) + "M"
	case n >= 100 || n == float64(int64(n)):
		return commas(strconv.FormatFloat(n, 'f', 0, 64))
	}
	return strconv.FormatFloat(n, 'f', 1, 64)
}

// commas groups the digits of a whole number by threes.
func commas(digits string) string {
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// bytes writes a number of bytes, in units of a thousand.
func bytes(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for n >= 999.5 && i < len(units)-1 {
		n /= 1000
		i++
	}
	if i == 0 || n >= 99.95 {
		return strconv.FormatFloat(n, 'f', 0, 64) + " " + units[i]
	}
	return strconv.FormatFloat(n, 'f', 1, 64) + " " + units[i]
}

// duration writes how long a broker has run.
func duration(d time.Duration) string {
	s := int64(d / time.Second)
	clock := fmt.Sprintf("%02d:%02d:%02d", s/3600%24, s/60%60, s%60)
	if days := s / 86400; days > 0 {
		return fmt.Sprintf("%dd %s", days, clock)
	}
	return clock
}

// spark draws the last of the values in width cells, the newest at the right,
// each as high as it is in proportion to the largest one drawn.
func spark(values []float64, width int) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	values = values[max(0, len(values)-max(width, 0)):]
	highest := 0.0
	for _, v := range values {
		highest = max(highest, v)
	}
	var b strings.Builder
	for _, v := range values {
		level := 0
		if highest > 0 {
			level = int(v / highest * float64(len(bars)-1))
		}
		if v > 0 {
			level = max(level, 1) // tells little from nothing
		}
		b.WriteRune(bars[level])
	}
	return b.String()
}
