package config

import (
	"fmt"
	"strings"

	"midge/internal/settings"
)

// Reference writes the reference page of all settings in Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Settings

Generated from the table in ` + "`internal/settings/table.go`" + ` by ` + "`make docs`" + `; don't edit it here.
How files, environment and flags go together is in [configuration](../configuration.md).

Sizes are a number of bytes, or a text such as "64KiB" or "1MB". Durations are a text such as "500ms", "5s" or "24h".
The environment variable of ` + "`limits.packet_size` is `MIDGE_LIMITS_PACKET_SIZE`" + `, and so on; lists are separated by commas there.

A running broker reads its settings again when a file changes and on SIGHUP: see [configuration](../configuration.md#changing-it-while-the-broker-runs).
What a change means then is told for each.
`)
	def := settings.Default()
	for _, sec := range settings.Table() {
		title := "[" + sec.Name + "]"
		switch sec.Name {
		case "":
			title = "Top of the file"
		case settings.ListenerSection:
			title = "[[" + sec.Name + "]]"
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", title, sec.Doc)
		for _, s := range sec.Settings {
			(&setting{s}).describe(&b, &def)
		}
	}
	return b.String()
}

func (s *setting) describe(b *strings.Builder, def *settings.Settings) {
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n", s.Key, s.Doc)
	fmt.Fprintf(b, "- Default: `%s`. %s\n", s.toml(def), s.Reason)
	switch kind := s.kindName(); {
	case kind == "switch":
		b.WriteString("- `true` or `false`.\n")
	case s.Words != nil:
		fmt.Fprintf(b, "- One of: `%s`.\n", strings.Join(s.Words, "`, `"))
	case s.Zero != "" && s.Max == 0:
		fmt.Fprintf(b, "- A %s; `%s` means %s.\n", kind, empty(kind), s.Zero)
	case s.Max > 0:
		fmt.Fprintf(b, "- A %s from %s", kind, s.limits())
		if s.Zero != "" {
			fmt.Fprintf(b, "; 0 means %s", s.Zero)
		}
		b.WriteString(".\n")
	default:
		fmt.Fprintf(b, "- A %s.\n", kind)
	}
	if s.Flag != "" {
		fmt.Fprintf(b, "- Flag: `--%s`.\n", s.Flag)
	}
	if s.PerListener {
		b.WriteString("- A `[[listener]]` may have its own.\n")
	}
	if s.Secret {
		b.WriteString("- A secret: logs and `midge config show` don't have it.\n")
	}
	if s.Change != "" {
		fmt.Fprintf(b, "- A change at run time holds %s.\n", s.Change)
	} else {
		b.WriteString("- A change needs a restart.\n")
	}
}

// empty is how nothing is written of a kind of value.
func empty(kind string) string {
	if kind == "list of texts" {
		return "[]"
	}
	return `""`
}
