package compare

import (
	"fmt"
	"html"
	"io"
	"strings"
)

// WriteSVG writes one picture with the most important figure of each scenario,
// for a page that shows pictures only, such as a README. Like the page it
// follows the reader from light to dark.
func (c *Comparison) WriteSVG(w io.Writer) error {
	const margin, gap, top = 20.0, 28.0, 52.0
	var all []*chart
	for _, s := range c.sections() {
		if r, ok := s.find(s.load.Headline); ok {
			all = append(all, c.bars(&r, s.load.Name))
		}
	}
	columns := min(2, max(1, len(all)))
	width := 2*margin + float64(columns)*chartWidth + float64(columns-1)*gap
	var body strings.Builder
	y, height := top, 0.0
	for i, k := range all {
		if i%columns == 0 {
			y, height = y+height, 0
		}
		x := margin + float64(i%columns)*(chartWidth+gap)
		fmt.Fprintf(&body, `<g transform="translate(%.0f %.0f)">%s</g>`, x, y, k.inner())
		height = max(height, k.height+gap)
	}
	title := c.Title
	if c.Failed() {
		title = c.verdict() + " " + title
	}
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="%s">
<style>%s.paper { fill: var(--card) } svg .head { font-size: 17px; font-weight: 700 }</style>
<rect width="100%%" height="100%%" rx="8" class="paper"/><text x="%.0f" y="32" class="head">%s</text>%s
</svg>
`, width, y+height, width, y+height, html.EscapeString(c.Title), style, margin, html.EscapeString(title), body.String())
	return err
}
