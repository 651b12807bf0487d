package conf

import (
	"fmt"
	"strings"
)

// The ways in which Mosquitto reads values.

func anything(string) string { return "" }

func truth(v string) string {
	switch word, _, _ := strings.Cut(v, " "); word {
	case "true", "false", "1", "0":
		return ""
	}
	return "the value is true or false"
}

func isTrue(l *Line) bool { return l.first() == "true" || l.first() == "1" }

// between reads a number in a range.
func between(low, high int64) func(string) string {
	return func(v string) string {
		if n := atoi(v); n < low || n > high {
			return fmt.Sprintf("the value is outside %d to %d", low, high)
		}
		return ""
	}
}

// asksFor reports whether a value is one, in any way of writing it.
func asksFor(l *Line, value string) bool {
	switch value {
	case "":
		return false
	case "true":
		return isTrue(l)
	case "false":
		return l.first() == "false" || l.first() == "0"
	}
	return l.first() == value
}
