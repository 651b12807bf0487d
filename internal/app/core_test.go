package app

import (
	"log/slog"
	"testing"

	"midge/internal/config"
	"midge/internal/settings"
)

// TestSettingsOfTheCore proves that the core gets what the user has set, and that
// only what depends on the machine is worked out: the shards and the connections.
func TestSettingsOfTheCore(t *testing.T) {
	for _, tt := range []struct {
		shards, connections string
		wantShards          int
		wantConnections     int
	}{
		{"0", "0", (&Broker{cfg: &config.Loaded{}}).shards(), settings.MaxConnections},
		{"7", "9", 7, 9},
	} {
		cfg, err := config.Load(config.Sources{Flags: []config.Given{
			{Flag: "--set", Key: "shards", Values: []string{tt.shards}},
			{Flag: "--set", Key: "limits.connections", Values: []string{tt.connections}},
			{Flag: "--set", Key: "session.queued_messages", Values: []string{"0"}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		b := &Broker{cfg: cfg, log: slog.Default(), files: share(cfg.Limits.Connections, 0, false, 8, 2, true)}
		fixed, core := b.coreConfig("v"), b.coreSettings()
		if fixed.Shards != tt.wantShards || fixed.Shards < 1 || fixed.Shards > settings.MaxShards || fixed.Version != "v" || fixed.Logger != b.log || fixed.Refusing != b.files.refusing {
			t.Errorf("%+v: %+v", tt, fixed)
		}
		want := cfg.Core
		want.Limits.Connections = tt.wantConnections
		if core != want || core.Session.QueuedMessages != 0 {
			t.Errorf("%+v: got\n%+v\nwant\n%+v", tt, core, want)
		}
	}
}
