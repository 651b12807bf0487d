package top

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gdamore/tcell/v2"
)

// live shows the page on the terminal.
func live(ctx context.Context, o *Options, events <-chan event) error {
	// A broker that can't be shown is an error among the user's own lines,
	// rather than on a page that is gone at once.
	first, err := firstEvent(ctx, o, events)
	if err != nil || first == nil {
		return err
	}
	screen, err := tcell.NewScreen()
	if err == nil {
		err = screen.Init()
	}
	if err != nil {
		return fmt.Errorf("open the terminal: %w; --plain and --once need none", err)
	}
	defer screen.Fini()
	d := newDisplay(screen, o)
	d.event(*first, time.Now())
	d.run(ctx, events)
	return nil
}

// firstEvent returns the first message of the broker, nil if ctx is done before.
func firstEvent(ctx context.Context, o *Options, events <-chan event) (*event, error) {
	select {
	case e, ok := <-events:
		switch {
		case !ok:
			return nil, nil
		case e.failed != nil:
			return nil, e.failed
		case e.lost != nil:
			return nil, fmt.Errorf("%s: %w", o.Client.Address, e.lost)
		}
		return &e, nil
	case <-time.After(o.Wait):
		return nil, silent(o)
	case <-ctx.Done():
		return nil, nil
	}
}

// A display is the page on a screen, and what keys have changed.
type display struct {
	screen    tcell.Screen
	collector *collector
	address   string
	frozen    *view // what a paused page shows
	help      bool
	lost      string
}

func newDisplay(screen tcell.Screen, o *Options) *display {
	return &display{screen: screen, collector: newCollector(o.Interval), address: o.Client.Address}
}

// run draws until the user quits, ctx is done or the events end.
func (d *display) run(ctx context.Context, events <-chan event) {
	input := make(chan tcell.Event)
	quit := make(chan struct{})
	defer close(quit)
	go d.screen.ChannelEvents(input, quit)
	clock := time.NewTicker(time.Second)
	defer clock.Stop()
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	quiet.Reset(quietTime) // for the event before the first one here
	d.draw(time.Now())
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			d.event(e, time.Now())
			quiet.Reset(quietTime)
			continue // drawn when all have come
		case <-quiet.C:
			d.collector.complete(time.Now())
		case <-clock.C:
		case e, ok := <-input:
			if !ok || d.input(e, time.Now()) {
				return
			}
		case <-ctx.Done():
			return
		}
		d.draw(time.Now())
	}
}

// event takes in what the feed tells.
func (d *display) event(e event, now time.Time) {
	if e.lost != nil {
		d.lost = e.lost.Error()
		return
	}
	d.lost = ""
	d.collector.take(now, e.topic, e.text, e.retained)
}

// input does what a key asks for. It reports whether that is to quit.
func (d *display) input(e tcell.Event, now time.Time) (quit bool) {
	switch e := e.(type) {
	case *tcell.EventResize:
		d.screen.Sync()
	case *tcell.EventKey:
		switch e.Key() {
		case tcell.KeyEscape, tcell.KeyCtrlC:
			return true
		case tcell.KeyCtrlL:
			d.screen.Sync()
		case tcell.KeyRune:
			return d.key(e.Rune(), now)
		}
	}
	return false
}

func (d *display) key(r rune, now time.Time) (quit bool) {
	switch r {
	case 'q':
		return true
	case 'p', ' ':
		if d.frozen != nil {
			d.frozen = nil
		} else {
			v := d.view(now)
			d.frozen = &v
		}
	case '+', '=':
		d.collector.interval = step(d.collector.interval, 1)
	case '-':
		d.collector.interval = step(d.collector.interval, -1)
	case '?', 'h':
		d.help = !d.help
	}
	return false
}

// step is the interval that follows or precedes another one.
func step(interval time.Duration, by int) time.Duration {
	steps := []time.Duration{1, 2, 5, 10, 30, 60, 300}
	at, found := slices.BinarySearch(steps, interval/time.Second)
	if !found && by > 0 {
		at--
	}
	return steps[min(max(at+by, 0), len(steps)-1)] * time.Second
}

func (d *display) view(now time.Time) view {
	v := d.collector.view()
	v.address, v.now = d.address, now
	return v
}

// draw shows the page.
func (d *display) draw(now time.Time) {
	v := d.frozen
	if v == nil {
		fresh := d.view(now)
		v = &fresh
	}
	v.paused, v.help, v.lost, v.interval = d.frozen != nil, d.help, d.lost, d.collector.interval
	width, height := d.screen.Size()
	d.screen.Clear()
	for y, l := range v.page(width, height) {
		x := 0
		for _, s := range l {
			look := looks(s.style)
			for _, r := range s.text {
				d.screen.SetContent(x, y, r, nil, look)
				x++
			}
		}
	}
	d.screen.Show()
}

// looks is how a style appears. The colours are the terminal's own.
func looks(s style) tcell.Style {
	plain := tcell.StyleDefault
	switch s {
	case title:
		return plain.Bold(true)
	case label:
		return plain.Dim(true)
	case good:
		return plain.Foreground(tcell.ColorGreen)
	case bad:
		return plain.Foreground(tcell.ColorRed).Bold(true)
	case chart:
		return plain.Foreground(tcell.ColorTeal)
	}
	return plain
}
