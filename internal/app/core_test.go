package app

import (
	"reflect"
	"testing"

	"midge/internal/broker"
	"midge/internal/config"
)

// elsewhere are the settings that the core does not get.
var elsewhere = map[string]bool{
	"listen": true, "listen_wait": true, "allow_anonymous": true, "engine": true, "threads": true,
	"limits.memory": true, "durability": true, "durability_interval": true, "data_dir": true,
	"log.level": true, "log.format": true, "log.banner": true,
}

// others are values that are not defaults.
var others = map[string]string{
	"shards":                       "7",
	"limits.connections":           "7",
	"limits.connections_per_ip":    "7",
	"limits.connect_timeout":       "7s",
	"limits.packet_size":           "7KiB",
	"limits.connect_size":          "7KiB",
	"limits.pending_bytes":         "7KiB",
	"limits.mailbox_bytes":         "7MiB",
	"limits.subscriptions":         "7",
	"limits.topic_levels":          "7",
	"limits.topic_length":          "7",
	"limits.topic_aliases":         "7",
	"limits.retained_messages":     "7",
	"limits.retained_bytes":        "7KiB",
	"session.receive_maximum":      "7",
	"session.inflight":             "7",
	"session.queued_messages":      "7",
	"session.queued_bytes":         "7KiB",
	"session.stored_messages":      "7",
	"session.stored_bytes":         "7KiB",
	"session.queue_full":           "refuse-new",
	"session.max_expiry":           "7s",
	"session.keep_alive":           "7s",
	"session.shared_strategy":      "sticky",
	"session.shared_queue":         "member",
	"session.response_information": "answers/",
	"strict.client_ids":            "true",
	"strict.topic_characters":      "true",
	"strict.keep_alive":            "true",
	"sys.interval":                 "7s",
	"log.connections":              "false",
}

func coreOf(t *testing.T, settings ...string) broker.Config {
	t.Helper()
	var flags []config.Given
	for i := 0; i < len(settings); i += 2 {
		flags = append(flags, config.Given{Flag: "--set", Key: settings[i], Values: []string{settings[i+1]}})
	}
	cfg, err := config.Load(config.Sources{Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	limit := share(cfg.Limits.Connections, 0, false, 8, 2, true).connections
	core := (&Broker{cfg: cfg, files: descriptors{connections: limit}}).coreConfig("midge")
	if err := core.Validate(); err != nil {
		t.Errorf("%v: %v", settings, err)
	}
	return core
}

// TestEachSettingReachesTheCore proves that no setting is read and forgotten.
func TestEachSettingReachesTheCore(t *testing.T) {
	plain := coreOf(t)
	def, err := config.Load(config.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range def.Values() {
		if elsewhere[v.Key] {
			continue
		}
		other, ok := others[v.Key]
		if !ok {
			t.Errorf("%s: a setting without a test", v.Key)
			continue
		}
		if reflect.DeepEqual(coreOf(t, v.Key, other), plain) {
			t.Errorf("%s = %s changes nothing", v.Key, other)
		}
	}
}

// TestZeroSwitchesOff proves that 0 in a file is not taken for a default.
func TestZeroSwitchesOff(t *testing.T) {
	for _, tt := range []struct {
		key, zero string
		get       func(broker.Config) int
	}{
		{"sys.interval", "0s", func(c broker.Config) int { return int(c.Sys) }},
		{"limits.topic_aliases", "0", func(c broker.Config) int { return c.Limits.TopicAliases }},
		{"limits.retained_messages", "0", func(c broker.Config) int { return c.Limits.RetainedMessages }},
		{"limits.retained_bytes", "0", func(c broker.Config) int { return c.Limits.RetainedMessages }},
		{"session.queued_messages", "0", func(c broker.Config) int { return c.Session.QueuedMessages }},
		{"session.queued_bytes", "0", func(c broker.Config) int { return c.Session.QueuedMessages }},
		{"session.stored_messages", "0", func(c broker.Config) int { return c.Session.StoredMessages }},
		{"session.stored_bytes", "0", func(c broker.Config) int { return c.Session.StoredMessages }},
	} {
		if got := tt.get(coreOf(t, tt.key, tt.zero)); got >= 0 {
			t.Errorf("%s = %s becomes %d, want a negative value", tt.key, tt.zero, got)
		}
	}
}
