// Package apptest runs a whole broker inside a test.
package apptest

import (
	"context"
	"log/slog"
	"regexp"
	"testing"

	"midge/internal/app"
	"midge/internal/config"
)

// Serve runs Midge in memory until the test ends, on a free port of 127.0.0.1,
// and returns its address as host:port. settings add to that.
func Serve(t testing.TB, settings ...config.Given) (address string) {
	t.Helper()
	loaded, err := config.Load(config.Sources{Flags: append([]config.Given{
		{Key: "listen", Values: []string{"127.0.0.1:0"}},
		{Key: "durability", Values: []string{"none"}},
	}, settings...)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b, err := app.New(ctx, loaded, "midge test", slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	found := regexp.MustCompile(`tcp://(\S+)`).FindStringSubmatch(b.Banner(""))
	if found == nil {
		t.Fatalf("no address in the banner:\n%s", b.Banner(""))
	}
	return found[1]
}
