package app

import (
	"fmt"
	"os"
	"strings"

	"midge/internal/config"
)

// Banner says on one screen what runs here and what it promises. build is the
// first line: version, system and commit. An empty line ends it.
func (b *Broker) Banner(build string) string {
	var rows strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&rows, "  %-11s  %s\n", name, fmt.Sprintf(format, args...))
	}
	rows.WriteString(build + "\n")
	for _, l := range b.listening {
		row("listening", "%s", l)
	}
	if open := openTo(b.listening); len(open) > 0 {
		row("open to", "EVERYBODY who reaches these addresses: allow_anonymous is true, and nobody has to say who he is")
	}
	row("clients", "%s", b.access.describe())
	row("engine", "%s", b.network.Describe())
	switch b.cfg.Durability {
	case "commit":
		row("durability", "commit: what is acknowledged is on disk, and survives kill -9 and power loss")
	case "interval":
		row("durability", "interval: synced every %v; a power cut loses what was acknowledged in that time, a crash the last moments", b.cfg.DurabilityInterval)
	default:
		row("durability", "none: all state is in memory, and ends with this process")
	}
	if b.disk != nil {
		row("data dir", "%s", b.disk.describe())
	} else if b.cfg.Origin("data_dir").Kind != config.FromDefault {
		row("data dir", "%s (not used: nothing is durable)", b.cfg.DataDir)
	}
	row("connections", "%s at most%s", grouped(uint64(b.files.connections)), b.ofFiles())
	row("memory", "%s", describeBudget(b.cfg.Limits.Memory))
	l, s := &b.cfg.Limits, &b.cfg.Session
	row("limits", "packet %s, CONNECT within %v, %s waiting for a slow reader,", l.PacketSize, l.ConnectTimeout, l.PendingBytes)
	row("", "%s subscriptions a client, topics of %s levels and %s bytes,", grouped(uint64(l.Subscriptions)), grouped(uint64(l.TopicLevels)), grouped(uint64(l.TopicLength)))
	row("", "%s retained messages of %s in all", grouped(uint64(l.RetainedMessages)), l.RetainedBytes)
	row("sessions", "%s in flight to a client, queue in memory %s messages or %s,", grouped(uint64(s.Inflight)), grouped(uint64(s.QueuedMessages)), s.QueuedBytes)
	row("", "on disk %s or %s, then %s", grouped(uint64(s.StoredMessages)), s.StoredBytes, s.QueueFull)
	row("settings", "%s", b.settings())
	row("stop", "ctrl-c or SIGTERM (process %d)", os.Getpid())
	rows.WriteByte('\n')
	return rows.String()
}

// Record is what the log says of the start, as slog takes it: names and values.
func (b *Broker) Record(version string) []any {
	var listen []string
	for _, l := range b.listening {
		listen = append(listen, l.String())
	}
	record := []any{
		"version", version, "listen", strings.Join(listen, " "), "engine", b.network.Describe(), "shards", b.shards(),
		"durability", b.cfg.Durability, "connections", b.files.connections, "settings", b.settings(), "process", os.Getpid(),
	}
	if b.disk != nil {
		record = append(record, "data_dir", b.cfg.DataDir)
	}
	return record
}

func (b *Broker) ofFiles() string {
	if b.files.known {
		return fmt.Sprintf(" (limit of open files: %s)", grouped(b.files.limit))
	}
	return ""
}

// settings says where the settings are from.
func (b *Broker) settings() string {
	changed := 0
	for _, v := range b.cfg.Values() {
		if !v.Same {
			changed++
		}
	}
	file := b.cfg.FileName
	if file == "" {
		file = "no file"
	}
	switch changed {
	case 0:
		return file + ", all defaults"
	case 1:
		return file + ", 1 differs from its default"
	}
	return fmt.Sprintf("%s, %d differ from their defaults", file, changed)
}
