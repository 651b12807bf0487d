package gonet

import (
	"io/fs"
	"syscall"
)

// narrow gives a socket that has no name yet a mode, which its file gets, less what umask
// takes away: so nobody connects before the file has its own.
func narrow(fd uintptr, mode fs.FileMode) { syscall.Fchmod(int(fd), uint32(mode.Perm())) }
