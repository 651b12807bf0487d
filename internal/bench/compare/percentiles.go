package compare

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"

	"midge/internal/bench"
)

// curve is the distribution of a broker's latency: a value for each of
// quantiles, in seconds.
type curve struct {
	name, class       string
	median, low, high []float64
}

// quantiles are the places at which a distribution is drawn: evenly on an axis
// that gives each nine as much room as the one before, to 99.9 %.
func quantiles() (all []float64) {
	const steps, nines = 60, 3 // the sixth is the median
	for i := range steps + 1 {
		all = append(all, 100*(1-math.Pow(10, -nines*float64(i)/steps)))
	}
	return all
}

// curves gathers the distributions of all brokers under a scenario. what says
// what was timed; it is empty when nothing was.
func (c *Comparison) curves(scenario string) (all []curve, what string, err error) {
	for i, b := range c.Brokers {
		var rounds [][]float64
		for j := range c.Runs {
			r := &c.Runs[j]
			if r.Scenario != scenario || r.Broker != b.Name || r.Result == nil {
				continue
			}
			l, name := timed(r.Result)
			if l == nil {
				continue
			}
			values, err := valuesOf(l)
			if err != nil {
				return nil, "", fmt.Errorf("round %d, %s, %s: %w", r.Round, scenario, b.Name, err)
			}
			rounds, what = append(rounds, values), name
		}
		if len(rounds) > 0 {
			all = append(all, newCurve(b.Name, class(i), rounds))
		}
	}
	return all, what, nil
}

// timed is the distribution that a result is about.
func timed(r *bench.Result) (l *bench.Latency, what string) {
	switch {
	case r.Churned != nil && r.Churned.Time != nil:
		return r.Churned.Time, "Time to connect"
	case r.Latency != nil:
		return r.Latency, "Latency, from due to received"
	case r.Scenario.Publishers == 0:
		return r.Connects.Time, "Time to connect"
	}
	return nil, ""
}

// valuesOf returns the latency at each of quantiles, in seconds.
func valuesOf(l *bench.Latency) ([]float64, error) {
	h, err := l.Decode()
	if err != nil {
		return nil, err
	}
	var values []float64
	for _, q := range quantiles() {
		values = append(values, float64(max(h.ValueAtQuantile(q), l.Min))/1e9) // quantile 0 is 0 there
	}
	return values, nil
}

func newCurve(name, class string, rounds [][]float64) curve {
	k := curve{name: name, class: class}
	for i := range rounds[0] {
		var at []float64
		for _, r := range rounds {
			at = append(at, r[i])
		}
		k.median, k.low, k.high = append(k.median, median(at)), append(k.low, slices.Min(at)), append(k.high, slices.Max(at))
	}
	return k
}

// percentiles draws a line for the median of each broker's rounds, in a band
// from the lowest to the highest, with both axes logarithmic.
func percentiles(title, hint string, curves []curve) *chart {
	const top, bottom, left, height = 44.0, 40.0, 62.0, 290.0
	c := &chart{title: title, width: chartWidth, height: height}
	c.text(0, 14, "title", "start", title)
	c.text(0, 31, "hint", "start", hint)
	low, high, right := math.Inf(1), 0.0, 60.0
	for _, k := range curves {
		low, high = min(low, slices.Min(k.low)), max(high, slices.Max(k.high))
		right = max(right, float64(len(k.name))*charWidth+12)
	}
	low = max(low, 1e-7)
	ticks := logTicks(low, max(high, low*2))
	floor, end := height-bottom, chartWidth-min(right, 130)
	first, last := math.Log10(ticks[0]), math.Log10(ticks[len(ticks)-1])
	y := func(v float64) float64 {
		return floor - (floor-top)*(math.Log10(max(v, ticks[0]))-first)/(last-first)
	}
	x := func(i int) float64 { return left + (end-left)*float64(i)/float64(len(quantiles())-1) }
	for _, t := range ticks {
		c.line(left, y(t), end, y(t), "grid")
		c.text(left-8, y(t)+4, "tick", "end", tick(t, "s"))
	}
	for _, p := range []struct {
		at    float64 // nines
		label string
	}{{0, "min"}, {math.Log10(2), "p50"}, {1, "p90"}, {2, "p99"}, {3, "p99.9"}} {
		at := left + (end-left)*p.at/3
		c.line(at, top, at, floor, "grid")
		c.text(at, floor+16, "tick", "middle", p.label)
	}
	c.text((left+end)/2, floor+33, "tick", "middle", "percentile")
	for _, k := range curves {
		c.curve(k, x, y)
	}
	c.curveNames(curves, end+8, y)
	c.line(left, floor, end, floor, "axis")
	return c
}

func (c *chart) curve(k curve, x func(int) float64, y func(float64) float64) {
	var line, band []point
	for i := range k.median {
		line = append(line, point{x(i), y(k.median[i])})
		band = append(band, point{x(i), y(k.low[i])})
	}
	for i := len(k.high) - 1; i >= 0; i-- {
		band = append(band, point{x(i), y(k.high[i])})
	}
	fmt.Fprintf(&c.b, `<g class="%s">`, k.class)
	c.path(band, "band", true)
	c.path(line, "curve", false)
	for _, at := range []float64{50, 90, 99, 99.9} {
		i := nearest(at)
		fmt.Fprintf(&c.b, `<circle cx="%.1f" cy="%.1f" r="3.5" class="mark"><title>%s</title></circle>`, x(i), y(k.median[i]),
			html.EscapeString(fmt.Sprintf("%s: p%g %s, %s to %s in the rounds", k.name, at, format(k.median[i], "s"), format(k.low[i], "s"), format(k.high[i], "s"))))
	}
	c.b.WriteString("</g>")
}

// nearest is the index in quantiles that comes closest to q.
func nearest(q float64) int {
	all := quantiles()
	i, _ := slices.BinarySearch(all, q-1e-9)
	if i > 0 && (i == len(all) || q-all[i-1] < all[i]-q) {
		i--
	}
	return i
}

// curveNames writes the names at the ends of the lines, apart from each other.
func (c *chart) curveNames(curves []curve, at float64, y func(float64) float64) {
	const minGap = 15
	order := slices.Clone(curves)
	end := func(k curve) float64 { return y(k.median[len(k.median)-1]) }
	slices.SortStableFunc(order, func(a, b curve) int { return cmp.Compare(end(a), end(b)) })
	last := math.Inf(-1)
	for _, k := range order {
		last = max(end(k)+4, last+minGap)
		c.text(at, last, "name "+k.class+" ink", "start", k.name)
	}
}

// class gives broker i its colour.
func class(i int) string { return fmt.Sprintf("b%d", i) }
