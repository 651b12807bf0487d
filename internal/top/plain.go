package top

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// onceWidth is the width of a page that is not drawn on a terminal.
const onceWidth = 110

// follow reads events until ctx is done, and calls sampled after each sample,
// and lost when the connection ends, whose errors end it. A broker that says
// nothing for o.Wait at first is an error.
func follow(ctx context.Context, o *Options, events <-chan event, lost func(error) error, sampled func(*collector) (more bool, err error)) error {
	c := newCollector(o.Interval)
	silence := time.NewTimer(o.Wait)
	defer silence.Stop()
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	for away := false; ; {
		select {
		case e, ok := <-events:
			switch {
			case !ok:
				return nil
			case e.failed != nil:
				return e.failed
			case e.lost != nil && away: // and could not be opened again
				continue
			case e.lost != nil:
				away = true
				if err := lost(e.lost); err != nil {
					return err
				}
				continue
			}
			away = false
			silence.Stop()
			c.take(time.Now(), e.topic, e.text, e.retained)
			quiet.Reset(quietTime)
		case <-quiet.C:
			if !c.complete(time.Now()) {
				continue
			}
			if more, err := sampled(c); err != nil || !more {
				return err
			}
		case <-silence.C:
			return silent(o)
		case <-ctx.Done():
			return nil
		}
	}
}

// silent is the error for a broker that sends no figures.
func silent(o *Options) error {
	return fmt.Errorf("%s: nothing under %s within %v: the broker publishes no figures (Midge: sys.interval is 0), or does not let this client read them", o.Client.Address, prefix, o.Wait)
}

// once prints one page.
func once(ctx context.Context, o *Options, events <-chan event) error {
	ended := func(err error) error { return fmt.Errorf("%s: %w", o.Client.Address, err) }
	return follow(ctx, o, events, ended, func(c *collector) (bool, error) {
		v := c.view()
		var b strings.Builder
		fmt.Fprintf(&b, "%s  %s  up %s\n\n", printable(o.Client.Address), v.text("version"), duration(time.Duration(c.uptime())*time.Second))
		for _, l := range v.body(onceWidth) {
			b.WriteString(l.String() + "\n")
		}
		_, err := io.WriteString(o.Out, b.String())
		return false, err
	})
}

// lines prints a line for each sample, until ctx is done, and one when the
// connection is lost, which the feed opens again.
func lines(ctx context.Context, o *Options, events <-chan event) error {
	gone := func(err error) error {
		_, failed := fmt.Fprintf(o.Out, "time=%s lost=%q\n", time.Now().Format(time.RFC3339), err)
		return failed
	}
	return follow(ctx, o, events, gone, func(c *collector) (bool, error) {
		v := c.view()
		_, err := io.WriteString(o.Out, v.plain(time.Now())+"\n")
		return true, err
	})
}

// plain is the view as one line of key=value, without what is not known.
func (v *view) plain(now time.Time) string {
	var b strings.Builder
	b.WriteString("time=" + now.Format(time.RFC3339))
	for _, f := range []struct{ key, topic string }{
		{"clients", "clients/connected"},
		{"away", "clients/disconnected"},
		{"subscriptions", "subscriptions/count"},
		{"retained", "retained messages/count"},
		{"dropped", dropped},
		{"backlog_bytes", "store/backlog/bytes"},
	} {
		if n, ok := number(v.values, f.topic); ok {
			fmt.Fprintf(&b, " %s=%.0f", f.key, n)
		}
	}
	for _, f := range []struct{ key, topic string }{
		{"messages_in", "publish/messages/received"},
		{"messages_out", "publish/messages/sent"},
		{"bytes_in", "bytes/received"},
		{"bytes_out", "bytes/sent"},
		{"drops", dropped},
		{"commits", "store/commits"},
		{"syncs", "store/syncs"},
	} {
		if rate, ok := v.rates[f.topic]; ok {
			fmt.Fprintf(&b, " %s_per_s=%.1f", f.key, rate)
		}
	}
	if status := v.text("store/status"); status != "" {
		fmt.Fprintf(&b, " disk=%q", status)
	}
	return b.String()
}
