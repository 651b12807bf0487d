package compare

import (
	"fmt"
	"html"
	"io"
	"regexp"
	"strings"
	"sync"
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
<style>
%s</style>
<rect width="100%%" height="100%%" rx="8" class="paper"/><text x="%.0f" y="32" class="head">%s</text>%s
</svg>
`, width, y+height, width, y+height, html.EscapeString(c.Title), plainStyle(style+plotStyle), margin, html.EscapeString(title), body.String())
	return err
}

// plotStyle is what the picture has and the page has not.
const plotStyle = "svg .paper { fill: var(--card) }\nsvg .head { font-size: 17px; font-weight: 700 }\n"

// use finds the use of a CSS variable. It is compiled when it is needed, as all in
// this package: a broker, which has it in its binary, is not to pay for it.
var use = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`var\((--[a-z0-9-]+)\)`) })

// plainStyle writes a style with its colours in place of CSS variables, which many
// programs that show pictures don't know: to them all would be black. Programs
// that know modes get the dark colours as well.
func plainStyle(style string) string {
	var (
		comment   = regexp.MustCompile(`(?s)/\*.*?\*/`)
		colourSet = regexp.MustCompile(`(?s):root, svg \{(.*?)\}`)
		colour    = regexp.MustCompile(`(--[a-z0-9-]+): ([^;]+);`)
		rule      = regexp.MustCompile(`(?m)^(svg [^{]*)\{ ([^}]*) \}$`)
	)
	sets := colourSet.FindAllStringSubmatch(style, 2) // light, dark
	rules := rule.FindAllStringSubmatch(comment.ReplaceAllString(style, ""), -1)
	var b strings.Builder
	for i, set := range sets {
		colours := map[string]string{}
		for _, c := range colour.FindAllStringSubmatch(set[1], -1) {
			colours[c[1]] = c[2]
		}
		if i == 1 {
			b.WriteString("@media (prefers-color-scheme: dark) {\n")
		}
		for _, r := range rules {
			selector, what := strings.TrimSpace(r[1]), r[2]
			switch {
			case strings.Contains(what, "var(--c)"): // the broker's own
				for n := range brokerColours {
					own := strings.Replace(selector, "svg ", fmt.Sprintf("svg .b%d ", n), 1)
					fmt.Fprintf(&b, "%s { %s }\n", own, coloured(strings.ReplaceAll(what, "var(--c)", fmt.Sprintf("var(--c%d)", n)), colours))
				}
			case i == 0 || strings.Contains(what, "var("):
				fmt.Fprintf(&b, "%s { %s }\n", selector, coloured(what, colours))
			}
		}
		if i == 1 {
			b.WriteString("}\n")
		}
	}
	return b.String()
}

// brokerColours is how many brokers have a colour of their own in style.css.
const brokerColours = 8

// coloured writes colours in place of their names.
func coloured(what string, colours map[string]string) string {
	return use().ReplaceAllStringFunc(what, func(name string) string { return colours[use().FindStringSubmatch(name)[1]] })
}
