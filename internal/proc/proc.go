// Package proc reads what Linux says of processes and of the machine: CPU time,
// memory, files, the process behind a port. The bench and the tests measure
// brokers by it.
//
// It keeps nothing and starts nothing. Elsewhere than on Linux, what is asked of
// a process is an error, and what is asked of the machine is empty or usual.
//
// Files, from the bottom up: listener_linux.go, proc.go, proc_linux.go,
// proc_other.go.
package proc

// defaultPorts is the number of ports for outgoing connections that Linux has
// if nobody changed it: 32768 to 60999.
const defaultPorts = 28232
