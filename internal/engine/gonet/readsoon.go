package gonet

import (
	"errors"
	"net"
	"os"
	"time"
)

// errNothing says that nothing has arrived that was not read.
var errNothing = errors.New("nothing to read now")

// readSoon is readNow for connections that can't say what has arrived, such as
// those of TLS.
func readSoon(nc net.Conn, b []byte) (int, error) {
	nc.SetReadDeadline(time.Now().Add(soon))
	n, err := nc.Read(b)
	nc.SetReadDeadline(time.Time{})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errNothing
	}
	return n, err
}

// soon is enough for bytes that have arrived. Guess.
const soon = 20 * time.Millisecond
