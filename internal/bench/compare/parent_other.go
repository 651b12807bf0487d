//go:build unix && !linux

package compare

import "syscall"

// endWithParent does nothing: this system doesn't offer it.
func endWithParent(*syscall.SysProcAttr) {}
