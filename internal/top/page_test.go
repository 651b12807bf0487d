package top

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the pages that the tests compare with")

// busy is a broker with a disk that does well, after some samples.
func busy() view {
	all := []told{}
	for i := range 40 {
		n := i * i
		all = append(all, told{10 * time.Second, i == 0, values(
			"version", "midge 0.1.0-dev", "uptime", strconv.Itoa(90000+10*i)+" seconds",
			"clients/connected", strconv.Itoa(1000+i%7), "clients/disconnected", "12", "clients/maximum", "1006", "clients/expired", "3",
			"subscriptions/count", "2345", "shared_subscriptions/count", "0",
			"publish/messages/received", strconv.Itoa(n*1000), "publish/messages/sent", strconv.Itoa(n*3000), dropped, strconv.Itoa(n),
			"messages/received", strconv.Itoa(n*1100), "messages/sent", strconv.Itoa(n*3300), "bytes/received", strconv.Itoa(n*100000), "bytes/sent", strconv.Itoa(n*300000),
			"load/publish/received/1min", "420000.00", "load/publish/received/5min", "60.00", "load/publish/received/15min", "6.00",
			"load/bytes/sent/1min", "120000000.00", "load/bytes/sent/5min", "0.00", "load/connections/1min", "30.00",
			"retained messages/count", "17", "store/messages/count", "40", "store/messages/bytes", "123456",
			"store/status", "ok", "store/trouble", "none", "store/queued/count", "23", "store/queued/bytes", "4567",
			"store/commits", strconv.Itoa(50*i), "store/syncs", strconv.Itoa(40*i), "store/syncs/last", "1234", "store/commits/turns", "2.5",
			"store/backlog/bytes", "1024", "refused/store", "3", "refused/per_ip", "0", "closed/taken_over", "7", "store/damaged", "0", "store/disk/bytes", "98765432", "store/disk/log/bytes", "65536", "store/quarantines", "0",
		)})
	}
	c, _ := collect(0, all...)
	v := c.view()
	v.address, v.now, v.interval = "mqtt://broker.example:1883", time.Date(2026, 1, 2, 12, 34, 56, 0, time.UTC), time.Second
	return v
}

// TestPages compares pages with the files in testdata, -update writes them.
func TestPages(t *testing.T) {
	with := func(change func(*view)) view {
		v := busy()
		change(&v)
		return v
	}
	for _, tt := range []struct {
		name          string
		view          view
		width, height int
	}{
		{"wide", busy(), 140, 40},
		{"usual", busy(), 80, 30},
		{"narrow", busy(), 48, 30},
		{"low", busy(), 80, 12},
		{"trouble", with(func(v *view) {
			v.values["store/status"], v.values["store/trouble"] = "disk full: 12 MB left\x1b[2J", "disk full: 12 MB left"
			v.values[dropped+"/slow"], v.values[dropped+"/queue"] = "1500", "21"
		}), 100, 30},
		{"lost", with(func(v *view) { v.lost = "the broker closed the connection" }), 100, 10},
		{"paused", with(func(v *view) { v.paused, v.interval = true, 10*time.Second }), 80, 10},
		{"help", with(func(v *view) { v.help = true }), 100, 20},
		{"mosquitto", mosquitto(), 100, 24},
		{"nothing yet", view{address: "mqtt://127.0.0.1:1883", now: time.Date(2026, 1, 2, 1, 2, 3, 0, time.UTC)}, 80, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := tt.view.page(tt.width, tt.height)
			var b strings.Builder
			for _, l := range page {
				b.WriteString(l.String() + "\n")
			}
			file := filepath.Join("testdata", tt.name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("the page is\n%s\nand should be\n%s", b.String(), want)
			}
		})
	}
}

// mosquitto has other topics than Midge, and none of a disk.
func mosquitto() view {
	c, _ := collect(0,
		told{0, true, values("version", "mosquitto version 2.0.11", "uptime", "12 seconds", "clients/connected", "3", "publish/messages/received", "0",
			"publish/messages/sent", "0", "store/messages/count", "48", "store/messages/bytes", "234", "heap/current", "5000")},
		told{10 * time.Second, false, values("uptime", "22 seconds", "publish/messages/received", "50", "load/connections/1min", "5.5")})
	v := c.view()
	v.address, v.now = "mqtt://127.0.0.1:1883", time.Date(2026, 1, 2, 12, 34, 56, 0, time.UTC)
	return v
}

// TestPagesFit proves that no page is larger than its terminal, whatever the
// size, and that none is smaller than it could be.
func TestPagesFit(t *testing.T) {
	v := busy()
	v.values[dropped+"/slow"] = "1"
	for _, help := range []bool{false, true} {
		v.help = help
		for width := range 160 {
			for height := range 50 {
				page := v.page(width, height)
				if len(page) != height {
					t.Fatalf("%d x %d: %d lines", width, height, len(page))
				}
				for _, l := range page {
					if l.width() > width || l.width() != utf8.RuneCountInString(text(l)) {
						t.Fatalf("%d x %d: a line of %d cells: %s", width, height, l.width(), l)
					}
				}
			}
		}
	}
}

func text(l line) (all string) {
	for _, s := range l {
		all += s.text
	}
	return all
}

func TestPlain(t *testing.T) {
	v := busy()
	now := time.Date(2026, 1, 2, 12, 34, 56, 0, time.UTC)
	const want = "time=2026-01-02T12:34:56Z clients=1004 away=12 subscriptions=2345 retained=17 dropped=1521 backlog_bytes=1024" +
		" messages_in_per_s=7700.0 messages_out_per_s=23100.0 bytes_in_per_s=770000.0 bytes_out_per_s=2310000.0 drops_per_s=7.7" +
		` commits_per_s=5.0 syncs_per_s=4.0 disk="ok"`
	if got := v.plain(now); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := (&view{}).plain(now); got != "time=2026-01-02T12:34:56Z" {
		t.Errorf("of nothing: %s", got)
	}
}
