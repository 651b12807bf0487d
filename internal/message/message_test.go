package message

import (
	"math"
	"testing"
	"time"
)

func TestRemaining(t *testing.T) {
	const now = 10 * time.Second
	for _, tt := range []struct {
		name string
		left time.Duration
		want uint32
	}{
		{"v5/MQTT-3.3.2-6/just come", 60 * time.Second, 60},
		{"v5/MQTT-3.3.2-6/another shard's clock is behind", 60*time.Second + 3*time.Millisecond, 60},
		{"v5/MQTT-3.3.2-6/little time has gone", 60*time.Second - 3*time.Millisecond, 60},
		{"v5/MQTT-3.3.2-6/most of a second has gone", 59*time.Second + 300*time.Millisecond, 59},
		{"about to end", time.Millisecond, 1},
		{"v5/MQTT-3.3.2-6/more is left than was asked for", time.Hour, 60},
	} {
		m := Message{Interval: 60, Expires: now + tt.left}
		if got, ok := m.Remaining(now); got != tt.want || !ok {
			t.Errorf("%s: %d, %v; want %d", tt.name, got, ok, tt.want)
		}
	}
	if got, ok := (&Message{}).Remaining(now); ok {
		t.Errorf("a message that never ends: %d", got)
	}
}

// TestIntervals proves that the whole range of intervals is told as it came, and
// counts down.
func TestIntervals(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, began := range []time.Duration{0, time.Millisecond, time.Hour, 10 * year} {
		for _, seconds := range []uint32{0, 1, 2, 1 << 31, math.MaxUint32 - 1, math.MaxUint32} {
			var m Message
			m.Expire(began, seconds)
			for _, later := range []time.Duration{-3 * time.Second, 0, time.Millisecond} { // another shard's clock may be behind
				if m.Expired(began + later) {
					t.Errorf("%d s from %v: ended at %v", seconds, began, began+later)
				}
				if got, ok := m.Remaining(began + later); got != seconds || !ok {
					t.Errorf("%d s from %v: %d, %v at %v", seconds, began, got, ok, began+later)
				}
			}
			if seconds > 1 {
				if got, _ := m.Remaining(began + 2*time.Second); got != max(seconds-2, 1) {
					t.Errorf("%d s from %v: %d after two seconds", seconds, began, got)
				}
			}
			if end := began + max(time.Duration(seconds)*time.Second, time.Second); !m.Expired(end) {
				t.Errorf("%d s from %v: not ended at %v", seconds, began, end)
			}
		}
	}
}
