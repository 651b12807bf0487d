package top

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gdamore/tcell/v2"

	"midge/internal/client"
)

// simulated returns a display on a screen of 80 x 24 that is only memory.
func simulated(t *testing.T) (*display, tcell.SimulationScreen) {
	t.Helper()
	screen := tcell.NewSimulationScreen("UTF-8")
	if err := screen.Init(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(screen.Fini)
	screen.SetSize(80, 24)
	return newDisplay(screen, &Options{Client: client.Options{Address: "mqtt://b"}, Interval: time.Second}), screen
}

// shown is what a screen shows.
func shown(screen tcell.SimulationScreen) string {
	cells, width, _ := screen.GetContents()
	var b strings.Builder
	for i, c := range cells {
		if i > 0 && i%width == 0 {
			b.WriteByte('\n')
		}
		b.WriteString(string(c.Runes))
	}
	return b.String()
}

// TestKeys proves what each key does to the page.
func TestKeys(t *testing.T) {
	d, screen := simulated(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	come := func(clients string) {
		now = now.Add(10 * time.Second)
		d.event(event{topic: "clients/connected", text: clients}, now)
		d.collector.complete(now.Add(quietTime))
	}
	press := func(key tcell.Key, r rune) bool { return d.input(tcell.NewEventKey(key, r, tcell.ModNone), now) }
	page := func() string { d.draw(now); return shown(screen) }
	expect := func(step string, with string, without ...string) {
		t.Helper()
		got := page()
		if !strings.Contains(got, with) {
			t.Errorf("%s: no %q in\n%s", step, with, got)
		}
		for _, w := range without {
			if strings.Contains(got, w) {
				t.Errorf("%s: %q in\n%s", step, w, got)
			}
		}
	}

	expect("at first", "waiting for $SYS", "clients")
	come("3")
	expect("a sample", "connected 3", "paused", "no connection")
	for _, key := range []rune{'p', ' '} {
		press(tcell.KeyRune, key)
		come("4")
		expect("paused", "connected 3", "connected 4")
		expect("paused", "paused")
		press(tcell.KeyRune, key)
		expect("going on", "connected 4", "paused")
		come("3")
	}
	press(tcell.KeyRune, '?')
	expect("help", "this help", "connected")
	press(tcell.KeyRune, 'h')
	expect("no help", "connected 3", "this help")
	press(tcell.KeyRune, '+')
	press(tcell.KeyRune, '=')
	expect("longer intervals", "every 5 s")
	press(tcell.KeyRune, '-')
	expect("shorter intervals", "every 2 s")
	d.event(event{lost: errors.New("it went away")}, now)
	expect("lost", "no connection: it went away")
	come("5")
	expect("found again", "connected 5", "no connection")
	if press(tcell.KeyRune, 'x') || press(tcell.KeyCtrlL, 0) || d.input(tcell.NewEventResize(40, 10), now) {
		t.Error("other keys quit")
	}
	if !press(tcell.KeyRune, 'q') || !press(tcell.KeyEscape, 0) || !press(tcell.KeyCtrlC, 0) {
		t.Error("q, Esc and ctrl-c do not quit")
	}
}

// TestDisplayRuns proves that the page follows events, and that the display
// ends by a key and with its events.
func TestDisplayRuns(t *testing.T) {
	for _, byKey := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			d, screen := simulated(t)
			events := make(chan event)
			ended := make(chan struct{})
			go func() {
				d.run(t.Context(), events)
				close(ended)
			}()
			for _, n := range []string{"100", "120"} {
				events <- event{topic: "uptime", text: n + " seconds"}
				events <- event{topic: "publish/messages/received", text: n}
				time.Sleep(10 * time.Second)
				synctest.Wait()
			}
			// Twenty messages in the ten seconds that passed here, whatever
			// the broker's clock says.
			if got := shown(screen); !strings.Contains(got, "messages in              2 ") {
				t.Errorf("the page is\n%s", got)
			}
			if byKey {
				screen.InjectKey(tcell.KeyRune, 'q', tcell.ModNone)
			} else {
				close(events)
			}
			<-ended
		})
	}
}
