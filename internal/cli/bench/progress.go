package bench

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"midge/internal/bench"
)

// progressLine tells how a run gets on: on a terminal in one line that is
// written over, elsewhere in a line each time.
type progressLine struct {
	out      io.Writer
	terminal bool
	open     bool // a line is to be finished
}

func (l *progressLine) show(p bench.Progress) {
	text := fmt.Sprintf("%5.0fs %-10s %7d connections, %9.0f published/s, %9.0f received/s", p.Elapsed.Round(time.Second).Seconds(),
		cmp.Or(p.Phase, "starting"), p.Connections, p.PublishRate, p.ReceiveRate)
	if p.Faults > 0 {
		text += fmt.Sprintf(", %d FAULTS", p.Faults)
	}
	if !l.terminal {
		fmt.Fprintln(l.out, text)
		return
	}
	fmt.Fprintf(l.out, "\r%s\x1b[K", text)
	l.open = true
}

// Write writes lines that are to stay, in the place of the one that isn't.
func (l *progressLine) Write(b []byte) (int, error) {
	if l.open {
		fmt.Fprint(l.out, "\r\x1b[K")
		l.open = false
	}
	return l.out.Write(b)
}

func (l *progressLine) end() {
	if l.open {
		fmt.Fprintln(l.out)
	}
}
