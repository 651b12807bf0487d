package message

import (
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
	} {
		m := Message{Expires: now + tt.left}
		if got, ok := m.Remaining(now); got != tt.want || !ok {
			t.Errorf("%s: %d, %v; want %d", tt.name, got, ok, tt.want)
		}
	}
	if got, ok := (&Message{}).Remaining(now); ok {
		t.Errorf("a message that never ends: %d", got)
	}
}
