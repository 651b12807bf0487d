package prometheus

import (
	"math"
	"testing"
)

func TestBuckets(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  []float64
		want []float64
	}{
		{"linear", LinearBuckets(1, 2, 4), []float64{1, 3, 5, 7}},
		{"linear, one", LinearBuckets(5, 2, 1), []float64{5}},
		{"exponential", ExponentialBucketsRange(1, 1000, 4), []float64{1, 10, 100, 1000}},
		{"exponential, two", ExponentialBucketsRange(3, 7, 2), []float64{3, 7}},
	} {
		if len(tt.got) != len(tt.want) {
			t.Fatalf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
		for i, want := range tt.want {
			if math.Abs(tt.got[i]-want) > want*1e-9 {
				t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
			}
		}
	}
}

// TestHistogramsKeepNothing proves that there is nothing that the goroutines of
// Pebble could share when they observe.
func TestHistogramsKeepNothing(t *testing.T) {
	h := NewHistogram(HistogramOpts{Buckets: LinearBuckets(0, 1, 3)})
	if allocs := testing.AllocsPerRun(100, func() { h.Observe(1.5) }); allocs != 0 || h != NewHistogram(HistogramOpts{}) {
		t.Errorf("%v allocations", allocs)
	}
}
