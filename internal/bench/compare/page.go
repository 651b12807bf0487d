package compare

import (
	_ "embed"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
)

//go:embed style.css
var style string

//go:embed page.css
var pageStyle string

// markup writes HTML. Text reaches the page through text and textf alone,
// which escape it.
type markup struct{ b strings.Builder }

// raw writes markup of ours.
func (m *markup) raw(text string) { m.b.WriteString(text) }

// textf writes an element that has text in it. open is its tag, and its
// attributes if it has any.
func (m *markup) textf(open, format string, args ...any) {
	tag, _, _ := strings.Cut(open, " ")
	fmt.Fprintf(&m.b, "<%s>%s</%s>\n", open, html.EscapeString(fmt.Sprintf(format, args...)), tag)
}

// WriteHTML writes the report as one page that needs nothing else: no scripts,
// no fonts, no links to the outside.
func (c *Comparison) WriteHTML(w io.Writer) error {
	m := &markup{}
	m.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
	// Browsers enforce it, and complain about what would need more.
	m.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n")
	m.textf("title", "%s", c.Title)
	// An empty icon, so that browsers don't ask a server for one.
	m.raw("<link rel=\"icon\" href=\"data:,\">\n<style>\n" + style + pageStyle + "</style>\n</head>\n<body>\n<main>\n")
	c.pageTop(m)
	sections := c.sections()
	c.pageOverview(m, sections)
	for i := range sections {
		if err := c.pageSection(m, &sections[i]); err != nil {
			return err
		}
	}
	c.pageFacts(m)
	m.raw("</main>\n</body>\n</html>\n")
	_, err := io.WriteString(w, m.b.String())
	return err
}

func (c *Comparison) pageTop(m *markup) {
	m.textf("h1", "%s", c.Title)
	if c.About != "" {
		m.textf(`p class="about"`, "%s", c.About)
	}
	if c.Failed() {
		m.textf(`p class="verdict failed" role="alert"`, "%s", c.verdict())
	} else {
		m.textf(`p class="verdict"`, "%s", c.verdict())
	}
	if failures := c.failures(); len(failures) > 0 {
		m.raw("<ul class=\"failures\">\n")
		for _, f := range failures {
			m.raw("<li>")
			m.textf("b", "%s", f.where)
			for _, text := range f.faults {
				first, rest, _ := strings.Cut(text, "\n")
				m.textf("div", "%s", first)
				if rest != "" {
					m.textf("pre", "%s", rest)
				}
			}
			if f.output != "" {
				m.textf("div", "The broker's output ended with:")
				m.textf("pre", "%s", f.output)
			}
			m.raw("</li>\n")
		}
		m.raw("</ul>\n")
	}
	m.raw("<ul class=\"key\">\n")
	for i, b := range c.Brokers {
		name := b.Name
		if b.Version != "" {
			name += ": " + b.Version
		}
		m.textf(`li class="`+class(i)+`"`, "%s", name)
	}
	m.raw("</ul>\n")
}

// pageOverview has a table of the most important figure of each scenario.
func (c *Comparison) pageOverview(m *markup, sections []section) {
	m.raw("<div class=\"wide\"><table>\n<thead><tr><th>Scenario, figure</th>")
	for _, b := range c.Brokers {
		m.textf("th", "%s", b.Name)
	}
	m.raw("</tr></thead>\n<tbody>\n")
	for i := range sections {
		s := &sections[i]
		for _, key := range overviewFigures(s.load) {
			if r, ok := s.find(key); ok {
				pageRow(m, s.load.Name+", "+r.figure.Name, &r)
			}
		}
	}
	m.raw("</tbody></table></div>\n")
	m.textf(`p class="dim small"`, "%s", c.legend())
}

// overviewFigures are those that a scenario has in the overview.
func overviewFigures(l *Load) []string {
	if l.Headline == "cpu" || l.Scenario.Publishers == 0 {
		return []string{l.Headline}
	}
	return []string{l.Headline, "cpu"}
}

func (c *Comparison) pageSection(m *markup, s *section) error {
	m.textf("h2", "%s", s.load.Name)
	if s.load.About != "" {
		m.textf("p", "%s", s.load.About)
	}
	m.textf(`p class="dim small"`, "%s.", s.load.Scenario.Describe())
	if warning := c.warning(s.load.Name); warning != "" {
		m.textf(`p class="verdict failed"`, "%s", warning)
	}
	m.raw("<div class=\"charts\">\n")
	curves, what, err := c.curves(s.load.Name)
	if err != nil {
		return err
	}
	if len(curves) > 0 {
		m.raw("<div class=\"tall\">" + percentiles(what, curveHint(s.load), curves).standalone() + "</div>\n")
	}
	for _, key := range chartFigures(s.load) {
		if r, ok := s.find(key); ok {
			m.raw("<div>" + c.bars(&r, "").standalone() + "</div>\n")
		}
	}
	m.raw("</div>\n<div class=\"wide\"><table>\n<thead><tr><th>Figure</th>")
	for _, b := range c.Brokers {
		m.textf("th", "%s", b.Name)
	}
	m.raw("</tr></thead>\n<tbody>\n")
	for i := range s.rows {
		pageRow(m, s.rows[i].figure.Name, &s.rows[i])
	}
	m.raw("</tbody></table></div>\n")
	for _, n := range s.notes {
		m.textf(`p class="dim small"`, "Note: %s", n)
	}
	return nil
}

// chartFigures are the figures that a scenario has bars for.
func chartFigures(l *Load) (keys []string) {
	all := []string{l.Headline, "rate", "cpu", "memory-connection"}
	if l.Scenario.Rate > 0 {
		all = []string{l.Headline, "cpu"} // the rate is given
	}
	if l.Scenario.Publishers > 0 {
		all = slices.DeleteFunc(all, func(k string) bool { return k == "memory-connection" && l.Headline != k })
	}
	for _, k := range all {
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// curveHint explains a plot of percentiles.
func curveHint(l *Load) string {
	hint := "Lower is better; line: median of the rounds, band: lowest to highest"
	if l.Scenario.Window > 0 {
		hint = "Closed loop: latency of a saturated broker; band: all rounds"
	}
	return hint
}

// bars draws the bars of a row. name goes before the figure's.
func (c *Comparison) bars(r *row, name string) *chart {
	var all []bar
	for i, b := range c.Brokers {
		cell := &r.cells[i]
		all = append(all, bar{name: b.Name, class: class(i), stats: cell.stats, ok: cell.ok, note: cell.ratioText()})
	}
	hint := map[int]string{1: "More is better", -1: "Less is better", 0: "Of the bench itself"}[r.figure.Better]
	title := r.figure.Name
	if name != "" {
		title = name + ": " + title
	} else {
		title = strings.ToUpper(title[:1]) + title[1:]
	}
	return bars(title, hint+"; bar: median, whisker and dots: rounds", r.figure.Unit, all)
}

func pageRow(m *markup, name string, r *row) {
	m.raw("<tr>")
	m.textf("td", "%s", name)
	for i := range r.cells {
		c := &r.cells[i]
		if !c.ok {
			m.raw("<td>–</td>")
			continue
		}
		m.raw("<td>")
		tag := "span"
		if c.best {
			tag = "b"
		}
		m.textf(tag, "%s", format(c.stats.Median, r.figure.Unit))
		if c.ratio > 0 {
			m.textf(`span class="ratio"`, "%s", c.ratioText())
		}
		if len(c.stats.Values) > 1 {
			m.textf("small", "%s", between(c.stats.Low, c.stats.High, r.figure.Unit))
		}
		m.raw("</td>")
	}
	m.raw("</tr>\n")
}

func (c *Comparison) pageFacts(m *markup) {
	m.textf("h2", "How this was measured")
	m.raw("<dl>\n")
	for _, f := range c.facts() {
		m.textf("dt", "%s", f.name)
		m.textf("dd", "%s", f.text)
	}
	m.raw("</dl>\n")
	for _, b := range c.Brokers {
		m.textf("p", "%s is started with:", b.Name)
		m.textf("pre", "%s", strings.Join(b.Command, " "))
		for _, f := range b.Files {
			m.textf(`p class="dim small"`, "%s:", f.Name)
			m.textf("pre", "%s", f.Text)
		}
	}
	m.raw("<details>")
	m.textf("summary", "The plan, %s", c.Plan)
	m.textf("pre", "%s", c.PlanText)
	m.raw("</details>\n")
}
