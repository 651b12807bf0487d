package bench

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the longest time that a histogram tells apart; longer ones count
// as this one.
const longest = int64(10 * time.Minute)

// histogram records durations in nanoseconds with three significant digits.
// Recording allocates nothing.
type histogram struct{ h *hdrhistogram.Histogram }

func newHistogram() histogram {
	return histogram{hdrhistogram.New(1000, longest, 3)}
}

// record takes d, in nanoseconds; a negative one, which clocks of different
// processes can make, counts as 0.
func (h histogram) record(d int64) {
	_ = h.h.RecordValue(min(max(d, 0), longest)) // in range, so that it can't fail
}

// encode returns the histogram as HdrHistogram's tools read it, and "" for an
// empty one.
func (h histogram) encode() (string, error) {
	if h.h == nil || h.h.TotalCount() == 0 {
		return "", nil
	}
	b, err := h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return "", fmt.Errorf("encode histogram: %w", err)
	}
	return string(b), nil
}

// merge adds what encode returned elsewhere.
func (h histogram) merge(encoded string) error {
	if encoded == "" {
		return nil
	}
	other, err := hdrhistogram.Decode([]byte(encoded))
	if err != nil {
		return fmt.Errorf("decode histogram: %w", err)
	}
	h.h.Merge(other)
	return nil
}

// latency summarizes the histogram; nil if it is empty.
func (h histogram) latency() (*Latency, error) {
	encoded, err := h.encode()
	if encoded == "" || err != nil {
		return nil, err
	}
	return &Latency{
		Count: uint64(h.h.TotalCount()), Min: h.h.Min(), Mean: int64(h.h.Mean()),
		P50: h.h.ValueAtQuantile(50), P90: h.h.ValueAtQuantile(90), P99: h.h.ValueAtQuantile(99),
		P999: h.h.ValueAtQuantile(99.9), Max: h.h.Max(), Histogram: encoded,
	}, nil
}

// Decode returns the histogram behind l, with values in nanoseconds.
func (l *Latency) Decode() (h *hdrhistogram.Histogram, err error) {
	defer func() {
		if p := recover(); p != nil { // the library trusts the lengths in what it reads
			h, err = nil, fmt.Errorf("decode histogram: %v", p)
		}
	}()
	h, err = hdrhistogram.Decode([]byte(l.Histogram))
	if err != nil {
		return nil, fmt.Errorf("decode histogram: %w", err)
	}
	return h, nil
}
