// Package prometheus stands in for the package of the same name in
// github.com/prometheus/client_golang, with which Pebble counts how long the
// sync of its log takes.
//
// Its histograms keep nothing: Observe drops what it is given. Midge measures
// syncs itself and reads none of Pebble's histograms; but linked, the original
// would bring two generations of protocol buffers, the parser of /proc and
// net/http into the binary, and keep the linker from removing methods that
// nobody calls.
package prometheus

import "math"

// A Histogram would count observations by size.
type Histogram interface {
	Observe(float64)
}

// HistogramOpts is how to count, for NewHistogram.
type HistogramOpts struct {
	Buckets []float64 // upper bounds
}

// dropping is a histogram that keeps nothing.
type dropping struct{}

// Observe implements Histogram.
func (dropping) Observe(float64) {}

// NewHistogram returns a histogram that keeps nothing.
func NewHistogram(HistogramOpts) Histogram { return dropping{} }

// LinearBuckets returns count bounds from start on, width apart.
func LinearBuckets(start, width float64, count int) []float64 {
	bounds := make([]float64, count)
	for i := range bounds {
		bounds[i] = start + float64(i)*width
	}
	return bounds
}

// ExponentialBucketsRange returns count bounds from least to most, each the
// same multiple of the one before. It needs a count of at least 2.
func ExponentialBucketsRange(least, most float64, count int) []float64 {
	ratio := math.Pow(most/least, 1/float64(count-1))
	bounds := make([]float64, count)
	for i := range bounds {
		bounds[i] = least * math.Pow(ratio, float64(i))
	}
	return bounds
}
