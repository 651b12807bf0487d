//go:build unix

package compare

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// ownGroup has cmd run in a process group of its own, so that the terminal's
// Ctrl-C doesn't reach it, and it can be ended with all that it starts.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminate asks the process and its group to end.
func terminate(p *os.Process) error {
	err := syscall.Kill(-p.Pid, syscall.SIGTERM)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// killGroup ends the process and its group, if they still run.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
