package top

import (
	"math"
	"testing"
	"time"
)

func TestNumbers(t *testing.T) {
	for _, tt := range []struct {
		n            float64
		count, bytes string
	}{
		{0, "0", "0 B"},
		{0.04, "0.0", "0 B"},
		{0.5, "0.5", "0 B"},
		{12.34, "12.3", "12 B"},
		{99.96, "100.0", "100 B"},
		{123.4, "123", "123 B"},
		{999.6, "1,000", "1.0 kB"},
		{1234, "1,234", "1.2 kB"},
		{99_960, "99,960", "100 kB"},
		{1_234_567, "1,234,567", "1.2 MB"},
		{12_345_678, "12.3M", "12.3 MB"},
		{12_345_678_901, "12.3G", "12.3 GB"},
		{1e17, "100000000.0G", "100000 TB"},
	} {
		if got := count(tt.n); got != tt.count {
			t.Errorf("count(%v) = %q, want %q", tt.n, got, tt.count)
		}
		if got := bytes(tt.n); got != tt.bytes {
			t.Errorf("bytes(%v) = %q, want %q", tt.n, got, tt.bytes)
		}
	}
}

func TestDuration(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{0, "00:00:00"}, {59*time.Minute + 1500*time.Millisecond, "00:59:01"}, {25*time.Hour + time.Second, "1d 01:00:01"}, {1000 * 24 * time.Hour, "1000d 00:00:00"},
	} {
		if got := duration(tt.d); got != tt.want {
			t.Errorf("duration(%v) = %q, want %q", tt.d, got, tt.want)
		}
	}
}

func TestSpark(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []float64
		width  int
		want   string
	}{
		{"nothing", nil, 5, ""},
		{"all zero", []float64{0, 0}, 5, "▁▁"},
		{"levels", []float64{0, 1, 2, 3, 4, 5, 6, 7}, 8, "▁▂▃▄▅▆▇█"},
		{"little is not nothing", []float64{0, 1, 1000}, 8, "▁▂█"},
		{"only the newest, to their own scale", []float64{1000, 1, 7}, 2, "▂█"},
		{"no room", []float64{1, 2}, 0, ""},
		{"less than no room", []float64{1, 2}, -3, ""},
		{"infinite", []float64{math.MaxFloat64, 0}, 2, "█▁"},
	} {
		if got := spark(tt.values, tt.width); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestStep(t *testing.T) {
	for _, tt := range []struct {
		from       time.Duration
		more, less time.Duration
	}{
		{time.Second, 2 * time.Second, time.Second},
		{5 * time.Second, 10 * time.Second, 2 * time.Second},
		{7 * time.Second, 10 * time.Second, 5 * time.Second},
		{5 * time.Minute, 5 * time.Minute, time.Minute},
		{time.Hour, 5 * time.Minute, 5 * time.Minute},
	} {
		if more, less := step(tt.from, 1), step(tt.from, -1); more != tt.more || less != tt.less {
			t.Errorf("from %v: %v and %v, want %v and %v", tt.from, more, less, tt.more, tt.less)
		}
	}
}
