package auth

import (
	"fmt"
	"strings"

	"midge/internal/variable"
)

// MountPoint is what all topics of a client begin with: a text with variables. The zero
// value is none.
type MountPoint struct{ text variable.Text }

// notInLevel are the characters that a value may not have which stands in a topic
// level: others could be within it, or match it.
const notInLevel = "/+#\x00"

// ParseMountPoint reads one. Each level has one variable at most, so that no two
// clients with other values get the same.
func ParseMountPoint(text string) (m MountPoint, err error) {
	if text == "" {
		return m, nil
	}
	levels, ok := strings.CutSuffix(text, "/")
	if !ok {
		return m, fmt.Errorf("%q has to end with /", text)
	}
	for level := range strings.SplitSeq(levels, "/") {
		t, err := variable.Parse(level)
		if err != nil {
			return m, err
		}
		if t.Variables() > 1 {
			return m, fmt.Errorf("%q has two variables between two slashes, so that different ones could be the same together", text)
		}
	}
	m.text, err = variable.Parse(text)
	return m, err
}

// Set reports whether there is one.
func (m MountPoint) Set() bool { return m.text != nil }

// Of is the mount point of a client.
func (m MountPoint) Of(c *variable.Client) (string, error) {
	mount, err := m.text.Fill(c, notInLevel)
	if err == nil && len(m.text) > 0 && m.text[0].Name != variable.None && strings.HasPrefix(mount, "$") {
		err = fmt.Errorf("%v of the client begins with $", m.text[0].Name)
	}
	return mount, err
}
