package settings

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// units are the suffixes of a Size, the longest first where one ends in
// another.
var units = [...]struct {
	suffix string
	bytes  Size
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// ParseSize reads a size: a whole number of bytes, or one with a unit, such as
// 4096, "64KiB" or "1MB".
func ParseSize(s string) (Size, error) {
	number, factor := strings.TrimSpace(s), Size(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(number, u.suffix); ok {
			number, factor = strings.TrimSpace(n), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 0, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a size; write a number of bytes, or one with a unit, such as \"64KiB\" or \"1MiB\"", s)
	}
	if n > math.MaxInt64/int64(factor) {
		return 0, fmt.Errorf("%q is larger than 8388607TiB", s)
	}
	return Size(n) * factor, nil
}

// String writes s with the largest binary unit that divides it.
func (s Size) String() string {
	if s != 0 {
		for _, u := range [...]int{3, 2, 1, 0} {
			if s%units[u].bytes == 0 {
				return strconv.FormatInt(int64(s/units[u].bytes), 10) + units[u].suffix
			}
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}
