//go:build unix

package program

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminate asks the program, and its group, to end.
func (p *Program) terminate() error {
	if !p.group {
		return p.Cmd.Process.Signal(syscall.SIGTERM)
	}
	err := syscall.Kill(-p.PID(), syscall.SIGTERM)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// kill ends the program and its group, if they still run.
func (p *Program) kill() {
	if !p.group {
		_ = p.Cmd.Process.Kill() // an error means that it has ended
		return
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // the same
}
