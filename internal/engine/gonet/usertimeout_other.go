//go:build !linux

package gonet

import "net"

// setUserTimeout does nothing: only Linux has the option.
func setUserTimeout(*net.TCPConn) {}
