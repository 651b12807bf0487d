package top

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/app/apptest"
	"midge/internal/client"
	"midge/internal/config"
	"midge/internal/packet"
)

// broker runs Midge until the test ends, and returns its address.
func broker(t *testing.T, interval string) string {
	t.Helper()
	return "mqtt://" + apptest.Serve(t, config.Given{Key: "sys.interval", Values: []string{interval}})
}

func options(address string, out io.Writer) Options {
	return Options{
		Client:  client.Options{Address: address, Version: packet.V311, ClientID: "top", KeepAlive: time.Minute},
		Timeout: 5 * time.Minute, Interval: time.Second, Wait: 5 * time.Minute, Out: out,
	}
}

func TestOnce(t *testing.T) {
	var out strings.Builder
	o := options(broker(t, "1h"), &out)
	o.Once = true
	if err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{o.Client.Address + "  midge test  up 00:00:0", "\nclients        connected ", "\nper second ", "\ndropped        in all 0  damaged 0  expired 0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

// TestPlainLines proves that lines come, and rates from the second one on,
// until the context ends.
func TestPlainLines(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	read, write := io.Pipe()
	ended := make(chan error, 1)
	o := options(broker(t, "1s"), write)
	go func() {
		ended <- Run(ctx, o)
		write.Close()
	}()
	lines := bufio.NewScanner(read)
	for rates := false; !rates; {
		if !lines.Scan() {
			t.Fatalf("no line with rates: %v", <-ended)
		}
		if !strings.HasPrefix(lines.Text(), "time=") || !strings.Contains(lines.Text(), " clients=") {
			t.Fatalf("%s", lines.Text())
		}
		rates = strings.Contains(lines.Text(), " messages_out_per_s=") && strings.Contains(lines.Text(), " clients=1 ")
	}
	cancel()
	for lines.Scan() {
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestFaults(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "mqtt://" + free.Addr().String()
	free.Close()
	mute := broker(t, "0s")
	for _, tt := range []struct {
		name, address string
		plain         bool
		want          string
	}{
		{"nobody listens", closed, false, closed},
		{"no figures, one page", mute, false, mute + ": nothing under $SYS/broker/ within 50ms: the broker publishes no figures (Midge: sys.interval is 0)"},
		{"no figures, lines", mute, true, mute + ": nothing under $SYS/broker/ within 50ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(tt.address, io.Discard)
			o.Once, o.Plain, o.Wait = !tt.plain, tt.plain, 50*time.Millisecond
			if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

// TestFollow proves how what the feed tells becomes output and errors.
func TestFollow(t *testing.T) {
	message := event{topic: "clients/connected", text: "1"}
	for _, tt := range []struct {
		name    string
		events  []event
		samples int
		want    string // part of the error
	}{
		{"silence", nil, 0, "nothing under $SYS/broker/ within 5m0s"},
		{"one sample, then silence", []event{message}, 1, ""},
		{"lost", []event{message, {lost: io.ErrUnexpectedEOF}}, 0, "mqtt://b: unexpected EOF"},
		{"failed", []event{{failed: io.ErrUnexpectedEOF}}, 0, "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				events := make(chan event, len(tt.events))
				for _, e := range tt.events {
					events <- e
				}
				samples := 0
				o := options("mqtt://b", io.Discard)
				err := follow(ctx, &o, events, func(err error) error { return fmt.Errorf("mqtt://b: %w", err) }, func(*collector) (bool, error) { samples++; return true, nil })
				if samples != tt.samples || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%d samples, %v; want %d, %q", samples, err, tt.samples, tt.want)
				}
			})
		})
	}
}

// TestLinesGoOn proves that a broker that goes away and comes back has one line
// for that, and that lines follow.
func TestLinesGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		events, ended := make(chan event), make(chan error, 1)
		var out strings.Builder
		o := options("mqtt://b", &out)
		go func() { ended <- lines(ctx, &o, events) }()
		for i, e := range []event{
			{topic: "clients/connected", text: "1"},
			{lost: io.ErrUnexpectedEOF},
			{lost: errors.New("nothing listens there")},
			{topic: "clients/connected", text: "2"},
			{lost: errors.New("again")},
			{topic: "clients/connected", text: "3"},
		} {
			events <- e
			time.Sleep(time.Duration(i+1) * time.Minute) // of the bubble
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			got = append(got, rest)
		}
		want := []string{"clients=1", `lost="unexpected EOF"`, "clients=2", `lost="again"`, "clients=3"}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// TestFeedReturns proves that a feed whose connection a second client with the
// same identifier ended says so, and comes back.
func TestFeedReturns(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	o := options(broker(t, "1h"), io.Discard)
	f := startFeed(ctx, o.Client, o.Timeout)
	await := func(what string, is func(event) bool) {
		t.Helper()
		for e := range f.events {
			if is(e) {
				return
			}
		}
		t.Fatalf("no event %s", what)
	}
	figures := func(e event) bool { return e.topic == "uptime" }
	await("figures", figures)
	rival, err := client.Connect(ctx, o.Client)
	if err != nil {
		t.Fatal(err)
	}
	await("lost", func(e event) bool { return e.lost != nil })
	await("figures again", figures)
	<-rival.Done() // taken over in its turn
	cancel()
	for range f.events {
	}
}
