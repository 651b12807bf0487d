//go:build !unix

package gonet

import (
	"net"
	"syscall"
)

func rawOf(net.Conn) syscall.RawConn { return nil }

// writeNow leaves all to a goroutine.
func writeNow(syscall.RawConn, []byte) int { return 0 }
