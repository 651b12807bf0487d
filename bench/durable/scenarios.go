//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"midge/bench/internal/harness"
)

// scenario is one measurement. run makes one sample and returns its figures and the faults that it saw.
type scenario struct {
	name       string
	about      string
	contenders []string // in the order of their turns in a round; some have several
	figures    []string // in the order of the table
	targets    []target
	run        func(s *server) (map[string]float64, []string, error)
}

const (
	settle     = 5 * time.Second // before resident memory is read
	pingPace   = 2 * time.Millisecond
	pingIdle   = 3 * time.Second
	fillWindow = 1000
	payload    = 200 // bytes
	pairsCount = 100
	idleCount  = 15000
	binaryMB   = "binary MB"
	pingSlower = "ping p99 drain/busy"
)

func (r *runner) allScenarios() []scenario {
	return []scenario{r.pairs(1), r.pairs(20), r.transient(), r.offlineFanout(), r.restart(), r.queue(), r.idle()}
}

// pairs: publishers to persistent subscribers, and what the disk allows.
func (r *runner) pairs(window int) scenario {
	name := fmt.Sprintf("durable-w%d", window)
	return scenario{
		name:       name,
		about:      fmt.Sprintf("QoS 1, %d publishers to %d persistent subscribers on topics of their own, %d B, %d in flight for each publisher", pairsCount, pairsCount, payload, window),
		contenders: []string{bareCommitter, midgeCommit, bareCommitter, midgeCommit, bareAppender, midgeMemory, mosquitto, mochi, nats, jetStream},
		figures:    []string{"msgs/s", syncBefore, "broker µs/msg", "generator µs/msg", "written B/msg", "broker MB", "records/commit", "commit p50 ms", "commit p99 ms"},
		targets: []target{
			{about: "of the bare committer's rate", figure: "msgs/s", of: midgeCommit, over: bareCommitter, least: 0.70},
			{about: "of the bare committer's rate with writers that wait for each record", figure: "msgs/s", of: midgeCommit, over: bareCommitter, overScenario: "durable-w1", shown: true},
			{about: "of what the cores allow", figure: "msgs/s", of: midgeCommit, allowed: coresAllow, shown: true},
			{about: "of Midge's own rate with --memory", figure: "msgs/s", of: midgeCommit, over: midgeMemory, shown: true},
			{about: "of the bare committer's rate, by Midge with --memory", figure: "msgs/s", of: midgeMemory, over: bareCommitter, shown: true},
			{about: "times Mosquitto, which doesn't sync", figure: "msgs/s", of: midgeCommit, over: mosquitto, shown: true},
			{about: "times mochi", figure: "msgs/s", of: midgeCommit, over: mochi, shown: true},
			{about: "times NATS's MQTT, synced always", figure: "msgs/s", of: midgeCommit, over: nats, least: 20},
			{about: "times NATS JetStream in its own protocol, synced always", figure: "msgs/s", of: midgeCommit, over: jetStream, least: 20},
		},
		run: func(s *server) (map[string]float64, []string, error) { return s.pairs(window) },
	}
}

// coresAllow is the rate at which what must be done takes all cores: to commit, to serve MQTT without a disk, to make the
// load.
func coresAllow(get func(contender, figure string) float64) float64 {
	commit, serve, load := get(bareCommitter, "broker µs/msg"), get(midgeMemory, "broker µs/msg"), get(midgeMemory, "generator µs/msg")
	if commit == 0 || serve == 0 || load == 0 {
		return 0
	}
	return float64(runtime.NumCPU()) * 1e6 / (commit + serve + load)
}

func (s *server) pairs(window int) (figures map[string]float64, faults []string, err error) {
	common := []string{"-clients", strconv.Itoa(pairsCount), "-window", strconv.Itoa(window), "-size", strconv.Itoa(payload), "-time", s.runner.measure.String()}
	rivals := filepath.Join(s.runner.dir, "rivals")
	if s.name == bareCommitter || s.name == bareAppender {
		args := slices.Concat([]string{"committer", "-data", s.data, fmt.Sprintf("-keep=%v", s.name == bareAppender)}, common)
		figures, faults = harness.Figures(loadLimit, rivals, args...)
		return figures, faults, nil
	}
	if err := s.serve(); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if s.name == jetStream {
		args := slices.Concat([]string{"jetstream", "-native", s.native, "-pid", strconv.Itoa(s.process.PID())}, common)
		figures, faults = harness.Figures(loadLimit, rivals, args...)
		return figures, faults, nil
	}
	figures, faults = s.load(slices.Concat([]string{"-scenario", "pairs", "-qos", "1", "-keep"}, common)...)
	return figures, faults, nil
}

// transient: QoS 1 with nobody whose session is kept.
func (r *runner) transient() scenario {
	return scenario{
		name:       "transient",
		about:      fmt.Sprintf("QoS 1, %d pairs of clean sessions, %d B, 10 in flight for each publisher: nobody durable is listening", pairsCount, payload),
		contenders: []string{midgeCommit, midgeMemory, midgeMemory, midgeCommit, midgeCommit, midgeMemory},
		figures:    []string{"msgs/s", "broker µs/msg", "generator µs/msg", "written B/msg", "data dir KiB", "broker MB"},
		targets: []target{
			{about: "of the rate with --memory", figure: "msgs/s", of: midgeCommit, over: midgeMemory, least: 0.95},
			{about: "bytes written to disk per message", figure: "written B/msg", of: midgeCommit, most: 0},
		},
		run: func(s *server) (map[string]float64, []string, error) {
			return s.scene(func(f *findings) error {
				f.load("-scenario", "pairs", "-qos", "1", "-clients", strconv.Itoa(pairsCount), "-window", "10", "-size", strconv.Itoa(payload), "-time", r.measure.String())
				size, err := harness.DirBytes(s.data)
				f.figures["data dir KiB"] = float64(size) / 1024
				return err
			})
		},
	}
}

// offlineFanout: one message to many sessions whose clients are away.
func (r *runner) offlineFanout() scenario {
	const messages = 50
	return scenario{
		name:       "offline",
		about:      fmt.Sprintf("one durable message of %d B to %d offline persistent sessions with the same filter; mean of %d, one at a time", payload, r.offline, messages),
		contenders: []string{midgeCommit, mosquittoExit},
		figures:    []string{"broker ms/msg", "PUBACK ms", "written B/msg", "broker MB"},
		targets: []target{
			{about: "ms of broker CPU per message", figure: "broker ms/msg", of: midgeCommit, most: 10},
		},
		run: func(s *server) (map[string]float64, []string, error) {
			return s.scene(func(f *findings) error {
				f.load("-scenario", "offline", "-clients", strconv.Itoa(r.offline), "-messages", strconv.Itoa(messages), "-size", strconv.Itoa(payload))
				return nil
			})
		},
	}
}

// restart: many sessions, and how soon the broker is back.
func (r *runner) restart() scenario {
	return scenario{
		name:       "restart",
		about:      fmt.Sprintf("%d persistent sessions with one subscription each, of which a sample is resumed after SIGTERM and after SIGKILL", r.sessions),
		contenders: []string{midgeCommit, mosquittoExit},
		figures:    []string{"restart s", "restart after SIGKILL s", "stop s", "bytes/session", "bytes/session before", "broker MB", "sessions/s", "broker µs/session", "written B/session", "data dir MB"},
		targets: []target{
			{about: "seconds from start to first CONNACK", figure: "restart s", of: midgeCommit, most: 3},
			{about: "seconds from start to first CONNACK after SIGKILL", figure: "restart after SIGKILL s", of: midgeCommit, most: 3},
			{about: "bytes of resident memory per session after the restart", figure: "bytes/session", of: midgeCommit, most: 1536},
		},
		run: func(s *server) (map[string]float64, []string, error) { return s.scene(s.restart) },
	}
}

func (s *server) restart(f *findings) error {
	sessions := strconv.Itoa(s.runner.sessions)
	empty, err := harness.ResidentBytes(s.process.PID())
	if err != nil {
		return err
	}
	if !f.load("-scenario", "sessions", "-clients", sessions, "-settle", settle.String()) {
		return nil
	}
	start := time.Now()
	if err := s.stop(); err != nil {
		return err
	}
	f.figures["stop s"] = time.Since(start).Seconds()
	if f.figures["restart s"], err = s.again(); err != nil {
		return err
	}
	time.Sleep(settle)
	resident, err := harness.ResidentBytes(s.process.PID())
	if err != nil {
		return err
	}
	f.figures["broker MB"] = float64(resident) / 1e6
	f.figures["bytes/session"] = float64(resident-empty) / float64(s.runner.sessions)
	f.load("-scenario", "resume", "-clients", sessions)
	if s.name == mosquittoExit {
		return nil // it has nothing to show after SIGKILL
	}
	if err := s.process.Kill(); err != nil {
		return err
	}
	if f.figures["restart after SIGKILL s"], err = s.again(); err != nil {
		return err
	}
	f.load("-scenario", "resume", "-clients", sessions)
	size, err := harness.DirBytes(s.data)
	f.figures["data dir MB"] = float64(size) / 1e6
	return err
}

// again starts the process and returns the seconds until a client has its CONNACK.
func (s *server) again() (float64, error) {
	began := time.Now()
	if err := s.start(); err != nil {
		return 0, err
	}
	for time.Since(began) < startLimit {
		c, err := connect(s.process.Address, "probe")
		if err == nil {
			took := time.Since(began).Seconds()
			return took, c.conn.Close()
		}
		time.Sleep(5 * time.Millisecond)
	}
	return 0, fmt.Errorf("no CONNACK %v after the start", startLimit)
}

// queue: a session with very many messages waiting.
func (r *runner) queue() scenario {
	return scenario{
		name: "backlog",
		about: fmt.Sprintf("%d messages of %d B waiting for one session, which is resumed and drained; meanwhile another client publishes at QoS 0 to itself every %v; busy: while one pair of clean sessions at QoS 1 with 100 in flight keeps broker and generator busy instead",
			r.backlog, payload, pingPace),
		contenders: []string{midgeCommit, mosquittoExit},
		figures: []string{
			"fill msgs/s", "fill broker µs/msg", "fill written B/msg", "B RSS/waiting msg", "drain msgs/s", "drain broker µs/msg", "RSS MiB before", "RSS MiB growth",
			"ping idle p50 µs", "ping idle p99 µs", "ping busy p50 µs", "ping busy p99 µs", "ping drain p50 µs", "ping drain p99 µs", "ping drain max µs", pingSlower,
		},
		targets: []target{
			{about: "MiB that resident memory grows by during the drain", figure: "RSS MiB growth", of: midgeCommit, most: 64},
			{about: "times slower a ping is during the drain than beside a busy pair, 99th percentile", figure: pingSlower, of: midgeCommit, shown: true},
			{about: "bytes of resident memory per waiting message, beyond the first fifth", figure: "B RSS/waiting msg", of: midgeCommit, most: 32},
		},
		run: func(s *server) (map[string]float64, []string, error) { return s.scene(s.queue) },
	}
}

func (s *server) queue(f *findings) (err error) {
	messages := strconv.Itoa(s.runner.backlog)
	if !f.load("-scenario", "fill", "-messages", messages, "-window", strconv.Itoa(fillWindow), "-size", strconv.Itoa(payload)) {
		return nil
	}
	p, err := newPinger(s.process.Address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	idle, err := s.pingWhile(p, func() { time.Sleep(pingIdle) })
	if err != nil {
		return err
	}
	var faults []string
	busy, err := s.pingWhile(p, func() {
		_, faults = s.load("-scenario", "pairs", "-qos", "1", "-clients", "1", "-window", "100", "-size", strconv.Itoa(payload), "-time", pingIdle.String())
	})
	if err != nil {
		return err
	}
	f.faults = append(f.faults, faults...)
	drain, err := s.pingWhile(p, func() { f.load("-scenario", "drain", "-messages", messages) })
	if err != nil {
		return err
	}
	// The last second of the drain waits for the broker to settle.
	drain = drain[:max(1, len(drain)-int(time.Second/pingPace))]
	f.figures["ping idle p50 µs"], f.figures["ping idle p99 µs"] = quantile(idle, 0.5), quantile(idle, 0.99)
	f.figures["ping busy p50 µs"], f.figures["ping busy p99 µs"] = quantile(busy, 0.5), quantile(busy, 0.99)
	f.figures["ping drain p50 µs"], f.figures["ping drain p99 µs"], f.figures["ping drain max µs"] = quantile(drain, 0.5), quantile(drain, 0.99), quantile(drain, 1)
	f.figures[pingSlower] = f.figures["ping drain p99 µs"] / f.figures["ping busy p99 µs"]
	return nil
}

// pingWhile pings until do returns.
func (s *server) pingWhile(p *pinger, do func()) (took []time.Duration, err error) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		took, err = p.ping(pingPace, end)
		close(done)
	}()
	do()
	close(end)
	<-done
	return took, err
}

// idle: what the store leaves of the targets for connections that do nothing.
func (r *runner) idle() scenario {
	return scenario{
		name:       "idle",
		about:      fmt.Sprintf("%d connections of clean sessions with one subscription each; the binary as it is released", idleCount),
		contenders: []string{midgeCommit, midgeMemory, mosquitto},
		figures:    []string{"empty broker MB", "bytes/connection", "bytes/connection first", "broker µs/connect", binaryMB},
		targets: []target{
			{about: "bytes of resident memory per idle connection", figure: "bytes/connection", of: midgeCommit, most: 700},
			{about: "MB of binary", figure: binaryMB, of: midgeCommit, most: 20},
			{about: "MB of resident memory of a broker without clients", figure: "empty broker MB", of: midgeCommit, shown: true},
		},
		run: func(s *server) (map[string]float64, []string, error) {
			return s.scene(func(f *findings) error {
				f.load("-scenario", "idle", "-clients", strconv.Itoa(idleCount), "-settle", settle.String())
				if s.name == mosquitto {
					return nil
				}
				info, err := os.Stat(filepath.Join(r.dir, "midge"))
				if err != nil {
					return err
				}
				f.figures[binaryMB] = float64(info.Size()) / 1e6
				return nil
			})
		},
	}
}

// findings gathers what the parts of a run have to say.
type findings struct {
	server  *server
	figures map[string]float64
	faults  []string
}

// load runs the generator, and reports whether it found no fault.
func (f *findings) load(args ...string) bool {
	figures, faults := f.server.load(args...)
	maps.Copy(f.figures, figures)
	f.faults = append(f.faults, faults...)
	return len(faults) == 0
}

// scene starts the server, lets play happen, and stops it.
func (s *server) scene(play func(*findings) error) (_ map[string]float64, _ []string, err error) {
	if err := s.serve(); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	f := &findings{server: s, figures: make(map[string]float64)}
	if err := play(f); err != nil {
		return nil, nil, err
	}
	return f.figures, f.faults, nil
}
