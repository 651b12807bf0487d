//go:build !unix

package gonet

import "net"

// readNow reads what has arrived, and returns errNothing if there is nothing.
func readNow(nc net.Conn, b []byte) (int, error) { return readSoon(nc, b) }
