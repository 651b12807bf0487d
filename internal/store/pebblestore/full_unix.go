//go:build unix

package pebblestore

import "syscall"

// noRoom are the errors of a full disk: no space, or none of the user's.
var noRoom = [...]error{syscall.ENOSPC, syscall.EDQUOT}
