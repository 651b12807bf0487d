package compare

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// A chart is drawn in units that are pixels at full size, with the classes and
// colours of style.css, so that it follows the page from light to dark.
type chart struct {
	b             strings.Builder
	title         string // also for those who can't see it
	width, height float64
}

// chartWidth is the width of every chart; the page scales them.
const chartWidth = 460

// charWidth is a guess at the average width of a character at 12 px, for
// labels that must not run into each other. No font is at hand to measure.
const charWidth = 6.6

// inner is the chart without the element around it.
func (c *chart) inner() string { return c.b.String() }

// standalone is the chart as an element of a page.
func (c *chart) standalone() string {
	return fmt.Sprintf(`<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">%s</svg>`,
		c.width, c.height, html.EscapeString(c.title), c.inner())
}

func (c *chart) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(&c.b, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, html.EscapeString(text))
}

func (c *chart) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(&c.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`, x1, y1, x2, y2, class)
}

func (c *chart) path(points []point, class string, closed bool) {
	c.b.WriteString(`<path d="`)
	for i, p := range points {
		fmt.Fprintf(&c.b, "%c%.1f %.1f", "ML"[min(i, 1)], p.x, p.y)
	}
	if closed {
		c.b.WriteString("Z")
	}
	fmt.Fprintf(&c.b, `" class="%s"/>`, class)
}

// point is a place in a chart.
type point struct{ x, y float64 }

// bar is a broker in a bar chart.
type bar struct {
	name  string
	class string // which gives the colour
	stats Stats
	ok    bool
	note  string // after the value
}

// crop is how far a whisker may reach beyond the longest bar, as a multiple of
// it: one bad round must not squeeze the bars into nothing. A whisker that is
// cut off gets an arrow, and its end in words.
const crop = 2.5

// bars draws a horizontal bar for the median of each broker, a whisker from
// the lowest to the highest round, and a dot for each round.
func bars(title, hint, unit string, all []bar) *chart {
	const top, row, thick, bottom = 44.0, 34.0, 16.0, 24.0
	c := &chart{title: title, width: chartWidth, height: top + row*float64(len(all)) + bottom}
	c.text(0, 14, "title", "start", title)
	c.text(0, 31, "hint", "start", hint)
	left, right, high, limit := 0.0, 0.0, 0.0, 0.0
	for _, b := range all {
		high, limit = max(high, b.stats.High), max(limit, b.stats.Median*crop)
	}
	for i := range all {
		if b := &all[i]; b.stats.High > limit {
			b.note = strings.TrimSpace(b.note + "  (up to " + format(b.stats.High, unit) + ")")
		}
		left = max(left, float64(len(all[i].name))*charWidth+10)
		right = max(right, float64(len([]rune(all[i].label(unit))))*charWidth+18)
	}
	left, high = min(left, 150), min(high, limit)
	ticks := linearTicks(high)
	end := c.width - right
	x := func(v float64) float64 { return left + (end-left)*v/ticks[len(ticks)-1] }
	floor := top + row*float64(len(all))
	// Labels of ticks need room between them.
	every := 1
	for i := range ticks {
		need := float64(len([]rune(tick(ticks[i], unit))))*charWidth + 14
		for every < len(ticks) && (end-left)/float64(len(ticks)-1)*float64(every) < need {
			every++
		}
	}
	for i, t := range ticks {
		c.line(x(t), top-4, x(t), floor, "grid")
		if i%every == 0 {
			c.text(x(t), floor+15, "tick", "middle", tick(t, unit))
		}
	}
	for i, b := range all {
		y := top + row*float64(i) + row/2
		c.text(left-8, y+4, "name", "end", b.name)
		if !b.ok {
			c.text(left+6, y+4, "hint", "start", "no figure")
			continue
		}
		c.bar(b, unit, x, point{left, y}, thick, high)
	}
	c.line(left, top-4, left, floor, "axis")
	return c
}

func (b *bar) label(unit string) string {
	if !b.ok {
		return ""
	}
	return strings.TrimSpace(format(b.stats.Median, unit) + "  " + b.note)
}

// bar draws one bar that starts at the point from. Values above high are cut
// off.
func (c *chart) bar(b bar, unit string, x func(float64) float64, from point, thick, high float64) {
	s, y := b.stats, from.y
	fmt.Fprintf(&c.b, `<g class="%s"><title>%s</title>`, b.class, html.EscapeString(fmt.Sprintf("%s: median %s, %s in %d rounds",
		b.name, format(s.Median, unit), between(s.Low, s.High, unit), len(s.Values))))
	fmt.Fprintf(&c.b, `<path d="%s" class="bar"/>`, roundedBar(from.x, y-thick/2, max(x(s.Median)-from.x, 1), thick))
	end := x(min(s.High, high))
	if len(s.Values) > 1 {
		c.line(x(s.Low), y, end, y, "whisker")
		c.line(x(s.Low), y-5, x(s.Low), y+5, "whisker")
		if s.High > high {
			c.path([]point{{end - 2, y - 5}, {end + 4, y}, {end - 2, y + 5}}, "whisker arrow", false)
		} else {
			c.line(end, y-5, end, y+5, "whisker")
		}
		for _, v := range s.Values {
			if v <= high {
				fmt.Fprintf(&c.b, `<circle cx="%.1f" cy="%.1f" r="2.4" class="dot"/>`, x(v), y)
			}
		}
	}
	c.b.WriteString("</g>")
	c.text(max(end, x(s.Median))+10, y+4, "value", "start", b.label(unit))
}

// roundedBar is the path of a bar that grows from the left and has rounded
// corners on the right.
func roundedBar(x, y, w, h float64) string {
	r := min(4, w/2)
	return fmt.Sprintf("M%.1f %.1fh%.1fa%.1f %.1f 0 0 1 %.1f %.1fv%.1fa%.1f %.1f 0 0 1 %.1f %.1fh%.1fZ",
		x, y, w-r, r, r, r, r, h-2*r, r, r, -r, r, -(w - r))
}

// linearTicks returns ticks from 0 to at least high, at steps of 1, 2 or 5.
func linearTicks(high float64) []float64 {
	if high <= 0 || math.IsInf(high, 0) || math.IsNaN(high) {
		return []float64{0, 1}
	}
	step := math.Pow(10, math.Floor(math.Log10(high/5)))
	for _, f := range []float64{1, 2, 5, 10} {
		if high/(step*f) <= 5 {
			step *= f
			break
		}
	}
	ticks := []float64{0}
	for i := 1; ticks[len(ticks)-1] < high*(1-1e-9); i++ {
		ticks = append(ticks, step*float64(i))
	}
	return ticks
}

// logTicks returns the powers of ten, or with few of them also 2 and 5 times
// those, that enclose low to high.
func logTicks(low, high float64) []float64 {
	factors := []float64{1, 2, 5}
	if high/low > 2000 {
		factors = factors[:1]
	}
	var all []float64
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		for _, f := range factors {
			all = append(all, f*math.Pow(10, e))
		}
	}
	for len(all) > 2 && all[1] <= low*(1+1e-9) {
		all = all[1:]
	}
	for len(all) > 2 && all[len(all)-2] >= high*(1-1e-9) {
		all = all[:len(all)-1]
	}
	return all
}
