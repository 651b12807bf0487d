package bench

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestLeastMemory proves that a broker which gives memory back after its start is
// measured when it has done so, and that nobody waits for one which goes on.
func TestLeastMemory(t *testing.T) {
	start := func(at time.Duration) int64 { // gives back after a second and a half
		if at < 1500*time.Millisecond {
			return 9000
		}
		return 4000
	}
	for _, tt := range []struct {
		name  string
		at    func(time.Duration) int64
		limit time.Duration
		want  int64
		took  time.Duration
	}{
		{"at rest", func(time.Duration) int64 { return 5000 }, 5 * time.Second, 5000, memoryRest},
		{"started a moment ago", start, 5 * time.Second, 4000, 1500*time.Millisecond + memoryRest},
		{"falls on and on", func(at time.Duration) int64 { return int64(9*time.Second - at) }, 3 * time.Second, int64(6 * time.Second), 3 * time.Second},
		{"grows", func(at time.Duration) int64 { return 10 + int64(at) }, 5 * time.Second, 10, memoryRest},
		{"no time to settle", start, 0, 9000, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				got, err := leastMemory(t.Context(), func() (int64, error) { return tt.at(time.Since(begun)), nil }, tt.limit)
				if took := time.Since(begun); got != tt.want || err != nil || took != tt.took {
					t.Errorf("%d, %v after %v, want %d after %v", got, err, took, tt.want, tt.took)
				}
			})
		})
	}
}
