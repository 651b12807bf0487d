package app

import (
	"log/slog"
	"reflect"
	"testing"
	"time"

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
		b := &Broker{cfg: cfg, log: slog.Default(), access: &access{}, files: share(cfg.Limits.Connections, 0, false, 8, 2, true)}
		fixed, core := b.coreConfig("v"), b.coreSettings(cfg, b.files.connections)
		if fixed.Shards != tt.wantShards || fixed.Shards < 1 || fixed.Shards > settings.MaxShards || fixed.Version != "v" || fixed.Logger != b.log || fixed.Refusing != b.files.refusing {
			t.Errorf("%+v: %+v", tt, fixed)
		}
		want := cfg.Core
		want.Limits.Connections = tt.wantConnections
		want.Listeners = map[int]settings.ListenerLimits{}
		if !reflect.DeepEqual(core, want) || core.Session.QueuedMessages != 0 {
			t.Errorf("%+v: got\n%+v\nwant\n%+v", tt, core, want)
		}
	}
}

// TestLimitsOfListeners proves that the core gets the limits that a listener has of its own,
// and none of those that are general.
func TestLimitsOfListeners(t *testing.T) {
	const file = `listen = ["127.0.0.1:1"]
[limits]
packet_size = 5000
connections = 9
connections_per_ip = 4
[[listener]]
address = "127.0.0.1:2"
[[listener]]
address = "127.0.0.1:3"
limits.connect_timeout = "1s"
[[listener]]
address = "127.0.0.1:4"
[listener.limits]
packet_size = 1000
connections = 3
connections_per_ip = 0
`
	cfg, err := config.Load(config.Sources{FileName: "f", File: []byte(file)})
	if err != nil {
		t.Fatal(err)
	}
	b := &Broker{cfg: cfg, log: slog.Default(), files: share(cfg.Limits.Connections, 0, false, 8, 2, true)}
	if err := b.makeListeners(); err != nil {
		t.Fatal(err)
	}
	got := b.coreSettings(cfg, b.files.connections).Listeners
	if len(got) != 2 {
		t.Fatalf("%d listeners have limits of their own, want 2: %+v", len(got), got)
	}
	if l := got[2]; l.Own != nil || l.OwnPerIP != nil || l.ConnectTimeout != time.Second || l.PacketSize != 5000 {
		t.Errorf("the third has %+v", l)
	}
	if l := got[3]; l.Own == nil || *l.Own != 3 || l.OwnPerIP == nil || *l.OwnPerIP != 0 || l.PacketSize != 1000 || l.ConnectTimeout != 5*time.Second {
		t.Errorf("the fourth has %+v", l)
	}
}
