package compare

import (
	"os"
	"slices"
	"strings"
	"time"

	"midge/internal/bench"
)

// syncWrites is how many writes the speed of the disk is measured by.
const syncWrites = 15

// syncTime is the median of the time that a file takes to be on disk after 4 KiB
// were appended to it, in a directory; 0 if it can't be measured. A disk that is
// shared changes its mind from run to run.
func syncTime(dir string) time.Duration {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return 0
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 4096)
	var took []time.Duration
	for range syncWrites {
		start := time.Now()
		if _, err := f.Write(page); err != nil || f.Sync() != nil {
			return 0
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// disk says how fast the disk was, if a broker has written to it.
func (c *Comparison) disk() string {
	var took []float64
	for i := range c.Runs {
		r := &c.Runs[i]
		if r.Sync > 0 && r.Result != nil && wroteTo(r.Result) {
			took = append(took, r.Sync)
		}
	}
	s, ok := newStats(took)
	if !ok {
		return ""
	}
	return strings.TrimSpace("an fsync after 4 KiB appended took " + format(s.Median, "s") + " (" + between(s.Low, s.High, "s") + "), just before the runs of brokers that write")
}

func wroteTo(r *bench.Result) bool { return r.BrokerUse != nil && r.BrokerUse.WrittenBytes > 0 }
