package config

import (
	"fmt"
	"strings"
)

// Reference writes the reference page of all settings in Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Settings

Generated from the table in ` + "`internal/config/settings.go`" + ` by ` + "`make docs`" + `; don't edit it here.
How files, environment and flags go together is in [configuration](../configuration.md).

Sizes are a number of bytes, or a text such as "64KiB" or "1MB". Durations are a text such as "500ms", "5s" or "24h".
The environment variable of ` + "`limits.packet_size` is `MIDGE_LIMITS_PACKET_SIZE`" + `, and so on; lists are separated by commas there.
`)
	def := Default()
	for _, sec := range table() {
		title := "[" + sec.name + "]"
		if sec.name == "" {
			title = "Top of the file"
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", title, sec.doc)
		for _, s := range sec.settings {
			s.describe(&b, &def)
		}
	}
	return b.String()
}

func (s *setting) describe(b *strings.Builder, def *Config) {
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n", s.key, s.doc)
	fmt.Fprintf(b, "- Default: `%s`. %s\n", s.toml(def), s.reason)
	switch kind := s.kindName(); {
	case kind == "switch":
		b.WriteString("- `true` or `false`.\n")
	case s.words != nil:
		fmt.Fprintf(b, "- One of: `%s`.\n", strings.Join(s.words, "`, `"))
	case s.max > 0:
		fmt.Fprintf(b, "- A %s from %s", kind, s.limits())
		if s.zero != "" {
			fmt.Fprintf(b, "; 0 means %s", s.zero)
		}
		b.WriteString(".\n")
	default:
		fmt.Fprintf(b, "- A %s.\n", kind)
	}
	if s.flag != "" {
		fmt.Fprintf(b, "- Flag: `--%s`.\n", s.flag)
	}
}
