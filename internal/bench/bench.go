// Package bench measures an MQTT broker: it connects many clients, publishes
// and subscribes as a Scenario says, and reports rates, latencies, what went
// wrong, and what it cost the broker.
//
// It measures any broker by address, and its CPU time and memory by process
// id. It starts no brokers and compares none; package compare does.
//
// # Who runs what
//
// Run is the coordinator. The load is made by workers: one in this process,
// or several processes of this program, each told what to do over a pipe. A
// worker owns its connections, its publishers and subscribers and all that
// they count, on one goroutine that runs a network loop (package loop). No
// worker knows another; what has to be compared, such as the messages sent on
// a topic and those received, is gathered by the coordinator.
//
// # Time
//
// A message carries the time at which it was due, not the time at which it
// was written. With a rate (an open loop) the schedule is fixed before the
// start, so that a broker that stalls is charged for all messages that it
// held up, and not only for the one that it was asked for: there is no
// coordinated omission. The clock is common to all workers of a run.
//
// Files, from the bottom up. What is measured, and how it is told: quantity.go,
// scenario.go, names.go, settings.go, toml.go, result.go, write.go, address.go,
// latency.go, tracker.go, usage.go, plan.go, layout.go. A worker:
// timers_linux.go, timers_other.go, worker.go, client.go, churn.go, reading.go,
// violation.go, publish.go, retained.go, receive.go, turn.go, connect.go, phase.go,
// drain.go, work.go. The coordinator: coordinator.go, gather.go, offline.go,
// merge.go, process.go, run.go, bench.go.
package bench

import (
	"context"
	"io"
	"time"

	"midge/internal/packet"
)

// Target is the broker to measure.
type Target struct {
	// Address is HOST:PORT, or a URL: mqtt:// (tcp://), mqtts:// (tls://),
	// ws:// or wss://, the latter two with a path if it isn't /mqtt.
	Address string
	// PID is the process of the broker on this machine, whose CPU time,
	// memory and threads are measured; 0 for none.
	PID int
	// Name is what the result calls the broker, such as mosquitto-2.0.11;
	// empty for the address.
	Name     string
	Version  packet.Version // of MQTT: V311 or V5; 0 means V311, or what the scenario needs
	Username string
	Password string
	TLS      TLS
	// Restart, if not nil, ends the broker, with SIGKILL or with SIGTERM, and
	// starts it again at the same address, for scenarios that ask for it.
	Restart func(ctx context.Context, kill bool) (Restarting, error)
}

// Restarting is how a broker was ended and started again.
type Restarting struct {
	PID   int           // of the new process; 0 if it can't be measured
	Stop  time.Duration // from SIGTERM or SIGKILL to the end of the process
	Start time.Duration // from the start to the first CONNACK
}

// TLS is how a broker is trusted and how clients show who they are. It is
// kept as names of files because workers in other processes need it too.
type TLS struct {
	CAFile     string `json:"ca_file,omitempty"`     // PEM; empty for the system's
	CertFile   string `json:"cert_file,omitempty"`   // PEM; empty for none
	KeyFile    string `json:"key_file,omitempty"`    // PEM; empty for none
	ServerName string `json:"server_name,omitempty"` // empty for the host of the address
	Insecure   bool   `json:"insecure,omitempty"`    // take any certificate
}

// Options are what a run needs beyond target and scenario. The zero value
// works.
type Options struct {
	// Procs is the number of worker processes; 0 takes one, in this process,
	// unless the limit of open files asks for more.
	Procs int
	// Worker starts this program as a worker: its path and arguments, such
	// as [/usr/bin/midge bench worker]. Needed only for more than one.
	Worker []string
	// Sources are local IP addresses to connect from, in turn. Empty means
	// the system's choice, and 127.0.0.2 and on for a target on 127.0.0.1
	// with more connections than an address has ports.
	Sources []string
	// Progress, if not nil, is called about once a second by the
	// coordinator's goroutine.
	Progress func(Progress)
	// Log, if not nil, gets a line for each thing that the user should know
	// while a run is on: workers started, an interruption.
	Log io.Writer
	// Discard: nobody uses the broker after the run, so that nothing
	// has to be left in order there.
	Discard bool
	// Command is the command line that the result mentions.
	Command string
	// Build is the version of this program that the result mentions.
	Build string

	network network // of an in-process test
}

// Progress is a snapshot of a run.
type Progress struct {
	Phase       string // "connecting", "warming up", "measuring", "draining"
	Elapsed     time.Duration
	Connections int
	Published   uint64  // since the start
	Received    uint64  // since the start
	PublishRate float64 // per second since the last snapshot
	ReceiveRate float64
	Faults      uint64
}

// Run measures target under scenario s. It returns an error when the scenario
// can't be run: a wrong setting, a limit of the machine that is too low, or a
// target that can't be reached or refuses connections. What the broker does
// wrong while it runs (a loss, a protocol error) is in the Result: see
// Result.Failed. Cancelling ctx ends the run early: the Result is what was
// measured until then, and says so in Interrupted. There is an error if no
// client was connected yet.
func Run(ctx context.Context, target Target, s Scenario, o Options) (*Result, error) {
	return run(ctx, target, s, o)
}
