package pebblestore

import "syscall"

// spaceErrors are the errors of a full disk: ERROR_HANDLE_DISK_FULL,
// ERROR_DISK_FULL, ERROR_DISK_QUOTA_EXCEEDED, and the invented ENOSPC of
// package syscall.
var spaceErrors = [...]error{syscall.Errno(39), syscall.Errno(112), syscall.Errno(1295), syscall.ENOSPC}

// descriptorErrors are the errors when no more files can be open:
// ERROR_TOO_MANY_OPEN_FILES and the invented one.
var descriptorErrors = [...]error{syscall.Errno(4), syscall.EMFILE}

// memoryErrors are the errors of a system that is short of memory:
// ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_NO_SYSTEM_RESOURCES, and
// the invented ones.
var memoryErrors = [...]error{syscall.Errno(8), syscall.Errno(14), syscall.Errno(1450), syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR}
