//go:build unix

package pebblestore

import "syscall"

// noRoom are the errors of a full disk: no space, or none of the user's.
var noRoom = [...]error{syscall.ENOSPC, syscall.EDQUOT}

// noFiles are the errors when no more files can be open, of the process or of
// the system.
var noFiles = [...]error{syscall.EMFILE, syscall.ENFILE}

// noMemory are the errors of a system that is short of memory, or was
// interrupted: what they meet is as it was, and the same may work later.
var noMemory = [...]error{syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR, syscall.ENOBUFS}
