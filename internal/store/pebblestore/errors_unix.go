//go:build unix

package pebblestore

import "syscall"

// spaceErrors are the errors of a full disk: no space, or none of the user's.
var spaceErrors = [...]error{syscall.ENOSPC, syscall.EDQUOT}

// descriptorErrors are the errors when no more files can be open, of the process
// or of the system.
var descriptorErrors = [...]error{syscall.EMFILE, syscall.ENFILE}

// memoryErrors are the errors of a system that is short of memory, or was
// interrupted: what they meet is as it was, and the same may work later.
var memoryErrors = [...]error{syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR, syscall.ENOBUFS}
