//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"midge/bench/internal/harness"
)

// startLimit bounds the time that a server may take to listen, and loadLimit that of one run of the generator.
const (
	startLimit = time.Minute
	loadLimit  = 5 * time.Minute
)

// The contenders. What has its own data directory syncs at each write that it acknowledges, but for the last Mosquitto.
const (
	midgeCommit   = "midge"            // durability = commit
	midgeMemory   = "midge --memory"   // nothing on disk
	mosquitto     = "mosquitto"        // writes its whole state after each change
	mosquittoExit = "mosquitto (exit)" // writes its whole state at exit
	mochi         = "mochi"            // with its Pebble hook
	nats          = "nats mqtt"        // its MQTT listener, on JetStream
	jetStream     = "nats jetstream"   // its own protocol
	bareCommitter = "committer"        // Pebble alone: append, then delete
	bareAppender  = "append only"      // Pebble alone: append
)

// mosquittoConfig switches off what would slow Mosquitto down (Nagle's algorithm, logging) and what would make it drop.
const mosquittoConfig = `listener %s 127.0.0.1
allow_anonymous true
persistence true
persistence_location %s/
log_type none
set_tcp_nodelay true
max_queued_messages 0
%s`

// What Mosquitto is told of when to write: after each change, or at exit and every half hour.
const (
	saveEachChange = "autosave_on_changes true\nautosave_interval 1\n"
	saveAtExit     = "autosave_on_changes false\nautosave_interval 1800\n"
)

// midgeArgs are common to Midge with and without a disk.
var midgeArgs = []string{"--log-level", "error"}

// server is a contender in one run, with its data directory. A restart gives it another process.
type server struct {
	runner  *runner
	name    string
	data    string
	native  string // address of NATS's own protocol
	process *harness.Process
}

// start starts the process and returns at once.
func (s *server) start() error {
	address, err := harness.FreeAddress()
	if err != nil {
		return err
	}
	name, args, err := s.command(address)
	if err != nil {
		return err
	}
	if s.process, err = harness.Spawn(s.runner.dir, address, name, args...); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	return nil
}

// serve starts the process and waits until it listens.
func (s *server) serve() error {
	if err := s.start(); err != nil {
		return err
	}
	return s.process.Listening(startLimit)
}

func (s *server) command(address string) (name string, args []string, err error) {
	binary := func(name string) string { return filepath.Join(s.runner.dir, name) }
	switch s.name {
	case midgeCommit:
		return binary("midge"), slices.Concat([]string{"serve", "--listen", "tcp://" + address, "--data-dir", s.data, "--set", "durability=commit"}, midgeArgs), nil
	case midgeMemory:
		return binary("midge"), slices.Concat([]string{"serve", "--listen", "tcp://" + address, "--memory"}, midgeArgs), nil
	case mosquitto, mosquittoExit:
		return s.mosquitto(address)
	case mochi:
		return binary("mochi"), []string{"-listen", address, "-data", s.data}, nil
	case nats, jetStream:
		if s.native, err = harness.FreeAddress(); err != nil {
			return "", nil, err
		}
		return binary("rivals"), []string{"nats", "-listen", address, "-native", s.native, "-data", s.data}, nil
	}
	return "", nil, fmt.Errorf("unknown contender %q", s.name)
}

func (s *server) mosquitto(address string) (name string, args []string, err error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, err
	}
	when := saveEachChange
	if s.name == mosquittoExit {
		when = saveAtExit
	}
	// Mosquitto started by root becomes another user, who may not come as far as this directory.
	config := fmt.Appendf(nil, mosquittoConfig, port, s.data, when)
	if os.Getuid() == 0 {
		config = append(config, "user root\n"...)
	}
	file := filepath.Join(s.runner.dir, "mosquitto.conf")
	return "mosquitto", []string{"-c", file}, os.WriteFile(file, config, 0o644)
}

// stop ends the process.
func (s *server) stop() error {
	if err := s.process.Stop(); err != nil {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	return nil
}

// syncTime returns the median of the time that one fdatasync of 4 KiB appended takes in dir.
func syncTime(dir string) (median time.Duration, err error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	page := make([]byte, 4096)
	took := make([]time.Duration, 100)
	for i := range took {
		start := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, fmt.Errorf("sync %s: %w", f.Name(), err)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
