package compare

import "syscall"

// endWithParent has the system send SIGTERM to the process when the thread that
// started it ends; the threads of this program end with it.
func endWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGTERM }
