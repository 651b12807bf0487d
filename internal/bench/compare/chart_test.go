package compare

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestLinearTicks(t *testing.T) {
	for _, tt := range []struct {
		high float64
		want []float64
	}{
		{0, []float64{0, 1}},
		{math.Inf(1), []float64{0, 1}},
		{math.NaN(), []float64{0, 1}},
		{1, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
		{7, []float64{0, 2, 4, 6, 8}},
		{604_720, []float64{0, 200_000, 400_000, 600_000, 800_000}},
		{23e-6, []float64{0, 5e-6, 10e-6, 15e-6, 20e-6, 25e-6}},
	} {
		got := linearTicks(tt.high)
		if !slices.EqualFunc(got, tt.want, near) {
			t.Errorf("to %v: %v, want %v", tt.high, got, tt.want)
		}
	}
}

func TestLogTicks(t *testing.T) {
	for _, tt := range []struct {
		low, high float64
		want      []float64
	}{
		{1, 10, []float64{1, 2, 5, 10}},
		{3, 40, []float64{2, 5, 10, 20, 50}},
		{180e-6, 900e-6, []float64{100e-6, 200e-6, 500e-6, 1e-3}},
		{20e-6, 90e-3, []float64{10e-6, 100e-6, 1e-3, 10e-3, 100e-3}},
	} {
		got := logTicks(tt.low, tt.high)
		if !slices.EqualFunc(got, tt.want, near) {
			t.Errorf("%v to %v: %v, want %v", tt.low, tt.high, got, tt.want)
		}
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }

// TestTicksEnclose proves for many ranges that no value falls off a chart, and
// that there are neither too few ticks nor too many.
func TestTicksEnclose(t *testing.T) {
	for low := 1e-7; low < 1e8; low *= 1.7 {
		all := linearTicks(low)
		if last := all[len(all)-1]; last < low*(1-1e-6) || len(all) < 3 || len(all) > 7 {
			t.Errorf("to %v: %v", low, all)
		}
		for high := low * 2; high < low*1e6; high *= 3.1 {
			all := logTicks(low, high)
			if all[0] > low*(1+1e-6) || all[len(all)-1] < high*(1-1e-6) || len(all) < 2 || len(all) > 13 {
				t.Errorf("%v to %v: %v", low, high, all)
			}
		}
	}
}

// TestCrop proves that one bad round is cut off, and written down.
func TestCrop(t *testing.T) {
	a, _ := newStats([]float64{0.002, 0.003, 0.415})
	b, _ := newStats([]float64{0.002, 0.002, 0.002})
	text := bars("p99", "", "s", []bar{{name: "a", class: "b0", stats: a, ok: true}, {name: "b", class: "b1", stats: b, ok: true}, {name: "none"}}).standalone()
	if strings.Count(text, "whisker arrow") != 1 || !strings.Contains(text, "3 ms  (up to 415 ms)") || !strings.Contains(text, ">8 ms<") || strings.Contains(text, ">400 ms<") {
		t.Error(text)
	}
	if strings.Count(text, `class="dot"`) != 5 || !strings.Contains(text, "no figure") {
		t.Error(text)
	}
}

// TestQuantiles proves that the axis ends where it says, and that the marks
// are on the line.
func TestQuantiles(t *testing.T) {
	q := quantiles()
	if q[0] != 0 || math.Abs(q[len(q)-1]-99.9) > 1e-9 || !slices.IsSorted(q) {
		t.Errorf("%v", q)
	}
	for _, at := range []float64{50, 90, 99, 99.9} {
		if got := q[nearest(at)]; math.Abs(got-at) > 1 {
			t.Errorf("p%v is marked at %v", at, got)
		}
	}
}

func TestCurve(t *testing.T) {
	k := newCurve("x", "b0", [][]float64{{1, 5}, {3, 6}, {2, 4}})
	if !slices.Equal(k.median, []float64{2, 5}) || !slices.Equal(k.low, []float64{1, 4}) || !slices.Equal(k.high, []float64{3, 6}) {
		t.Errorf("%+v", k)
	}
	values, err := valuesOf(latencyOf(t, 100, 200, 300))
	if err != nil || values[0] < 99e-6 || values[0] > 101e-6 || values[len(values)-1] < 299e-6 {
		t.Errorf("%v, %v", values, err)
	}
}

// TestNames proves that names at the ends of lines don't cover each other.
func TestNames(t *testing.T) {
	c := &chart{}
	same := curve{median: []float64{1}}
	same.name = "a"
	other := same
	other.name = "b"
	c.curveNames([]curve{same, other}, 10, func(float64) float64 { return 100 })
	if got := c.inner(); !strings.Contains(got, `y="104.0"`) || !strings.Contains(got, `y="119.0"`) {
		t.Error(got)
	}
}
