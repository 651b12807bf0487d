package bench

import (
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// TestDecodeTruncated proves that a result that was cut off, as a file may be,
// is an error and no panic.
func TestDecodeTruncated(t *testing.T) {
	h := hdrhistogram.New(1, 1_000_000, 3)
	for v := range int64(1000) {
		if err := h.RecordValue(v * 7); err != nil {
			t.Fatal(err)
		}
	}
	text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := (&Latency{Histogram: string(text)}).Decode(); err != nil || got.TotalCount() != h.TotalCount() {
		t.Fatalf("whole: %v", err)
	}
	for n := range len(text) {
		if _, err := (&Latency{Histogram: string(text[:n])}).Decode(); err == nil || !strings.HasPrefix(err.Error(), "decode histogram: ") {
			t.Errorf("%d of %d bytes: %v", n, len(text), err)
		}
	}
}
