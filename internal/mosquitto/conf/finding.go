package conf

import "fmt"

// Finding is what there is to say about a line that does not become a setting.
type Finding struct {
	Line Line
	With []Line // what belongs to it: the options of a bridge or a plug-in
	Kind Kind
	Text string // what is with it, and what to do instead
}

// Kind says how much a finding matters.
type Kind uint8

// The kinds.
const (
	// Same: there is nothing to set; the broker does it anyway, or it has no
	// meaning here.
	Same Kind = 1 + iota

	// Missing: the broker does without.
	Missing

	// Blocking: without it the broker would be open to more than Mosquitto is, or
	// lack a listener. It does not start from such a file, and a file made from it
	// has no listener that depends on the line.
	Blocking

	// Fault: Mosquitto refuses the line, too.
	Fault
)

// String is such as "mosquitto.conf:12: user mqtt: start the broker as that
// user".
func (f *Finding) String() string {
	with := ""
	if n := len(f.With); n == 1 {
		with = " (and the line that goes with it)"
	} else if n > 1 {
		with = fmt.Sprintf(" (and %d lines that go with it)", n)
	}
	return fmt.Sprintf("%s: %v%s: %s", f.Line.Place(), &f.Line, with, f.Text)
}
