//go:build !unix

package program

import "os/exec"

// ownGroup does nothing: this system has no process groups.
func ownGroup(*exec.Cmd) {}

// terminate ends the program: this system has no SIGTERM.
func (p *Program) terminate() error { return p.Cmd.Process.Kill() }

// kill ends the program, if it still runs.
func (p *Program) kill() { _ = p.Cmd.Process.Kill() } // an error means that it has ended
