//go:build !unix

package compare

import (
	"os"
	"os/exec"
)

// ownGroup does nothing: this system has no process groups.
func ownGroup(*exec.Cmd) {}

// terminate ends the process: this system has no SIGTERM.
func terminate(p *os.Process) error { return p.Kill() }

// killGroup ends the process, if it still runs.
func killGroup(p *os.Process) { _ = p.Kill() }
