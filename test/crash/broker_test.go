//go:build integration && unix

package crash

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"midge/internal/packet"
	"midge/internal/program"
	"midge/test/process"
)

// broker is the broker under test, over all its processes.
type broker struct {
	command []string // {dir} stands for the data directory, {port} for the port, {threads} for a number
	dir     string
	rng     *rand.Rand
	addr    string
	running *process.Process
	logs    []string // of the processes that were killed
}

// midge returns the command line of the midge binary.
func midge(binary string, args ...string) []string {
	return append([]string{binary, "serve", "--listen", "127.0.0.1:0"}, args...)
}

// launch starts a process. It does not wait until the broker listens.
func (b *broker) launch() error {
	port, err := program.Port()
	if err != nil {
		return err
	}
	threads := strconv.Itoa(1 + b.rng.IntN(4)) // each life has shards of its own
	args := make([]string, len(b.command))
	for i, arg := range b.command {
		args[i] = strings.NewReplacer("{dir}", b.dir, "{port}", port, "{threads}", threads).Replace(arg)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = b.dir
	b.addr = "127.0.0.1:" + port
	b.running, err = process.Start(cmd)
	return err
}

// start starts the broker and returns the time from there to the first CONNACK.
func (b *broker) start(v *verdict) (time.Duration, error) {
	begin := time.Now()
	if err := b.launch(); err != nil {
		return 0, err
	}
	probe := newClient(v, "probe", packet.V311, false, silent{})
	if filepath.Base(b.command[0]) == "midge" {
		if err := b.running.Listening(patience); err != nil {
			return 0, err
		}
		b.addr = b.running.Addr
		err := probe.dial(b.addr)
		probe.hangUp()
		return time.Since(begin), err
	}
	// Other brokers say nothing when they listen: there is no way but to try.
	for {
		err := probe.dial(b.addr)
		probe.hangUp()
		select {
		case <-b.running.Done(): // somebody else may have answered
			return 0, fmt.Errorf("the broker ended: %v\n%s", b.running.Cmd.ProcessState, b.running.Log())
		default:
		}
		if err == nil {
			return time.Since(begin), nil
		}
		if time.Since(begin) > patience {
			return 0, fmt.Errorf("%w\n%s", err, b.running.Log())
		}
		time.Sleep(time.Millisecond)
	}
}

// startAndKill starts the broker and kills it while it starts, or soon after.
func (b *broker) startAndKill() error {
	if err := b.launch(); err != nil {
		return err
	}
	time.Sleep(time.Duration(b.rng.IntN(60)) * time.Millisecond)
	b.kill()
	return nil
}

// kill ends the broker with SIGKILL.
func (b *broker) kill() {
	if b.running == nil {
		return
	}
	b.running.Kill()
	b.logs = append(b.logs, b.running.Log())
	b.running = nil
}

// quarantined returns what the broker has set aside as damaged.
func (b *broker) quarantined() []string {
	names, _ := filepath.Glob(filepath.Join(b.dir, "quarantine-*")) // the pattern is well-formed
	return names
}

// size is that of the data directory, in bytes.
func (b *broker) size() (sum int64) {
	filepath.WalkDir(b.dir, func(_ string, f fs.DirEntry, err error) error { //nolint:errcheck // files come and go
		if err != nil {
			return nil
		}
		if info, err := f.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}
