//go:build integration && unix

package crash

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"midge/test/process"
)

var (
	engine  = flag.String("engine", "auto", "what moves the bytes of midge: auto, epoll or goroutine")
	rounds  = flag.Int("rounds", 6, "times to kill the broker, at least")
	command = flag.String("broker", "", "command line of another broker; {dir} stands for the data directory, which is\n"+
		"also the current one, and {port} for the port on 127.0.0.1")
)

// TestCrash kills the broker again and again; nothing acknowledged may be lost,
// nothing delivered twice at QoS 2, nothing out of order.
func TestCrash(t *testing.T) {
	line := strings.Fields(*command)
	if len(line) == 0 {
		line = midge(binary, "--set", "engine="+*engine, "--data-dir", "{dir}", "--threads", "{threads}")
	}
	s := chooseSeed(t)
	v := run(t, s, line, *rounds, 0)
	for _, violation := range v.found {
		t.Error(violation)
	}
	if v.failed() {
		t.Errorf("to try again: MIDGE_SEED=%d make crashtest ROUNDS=%d", s, *rounds)
	}
}

// TestCrashFindsLoss proves that the test finds a loss: in the memory of a broker
// that keeps nothing else, all is lost.
func TestCrashFindsLoss(t *testing.T) {
	v := run(t, chooseSeed(t), midge(binary, "--set", "engine="+*engine, "--memory"), 1, 0)
	if v.count(lost) == 0 {
		t.Errorf("a broker without a disk has lost nothing: %q", v.found)
	}
}

// TestCrashInterval is TestCrash with durability = "interval". What the process
// has not written yet is lost with it, so that only what was acknowledged an
// interval before the kill must be there: clients rest before each, until the broker has
// counted a sync.
func TestCrashInterval(t *testing.T) {
	const interval = 100 * time.Millisecond
	config := filepath.Join(t.TempDir(), "midge.toml")
	text := fmt.Sprintf("durability = \"interval\"\ndurability_interval = %q\n[sys]\ninterval = \"1s\"\n", interval)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	line := midge(binary, "--set", "engine="+*engine, "--config", config, "--data-dir", "{dir}", "--threads", "{threads}")
	for _, violation := range run(t, chooseSeed(t), line, max(2, *rounds/4), interval).found {
		t.Error(violation)
	}
}

// binary is the path of midge, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(process.Main(m, &binary)) }

// chooseSeed takes the seed from MIDGE_SEED, if that is set.
func chooseSeed(t *testing.T) uint64 {
	t.Helper()
	s := rand.Uint64N(1_000_000)
	if text := os.Getenv("MIDGE_SEED"); text != "" {
		var err error
		if s, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("MIDGE_SEED: %v", err)
		}
	}
	t.Logf("MIDGE_SEED=%d; it decides what the clients do and when the broker is killed, not what comes of it", s)
	return s
}

// run runs the rounds, or fewer if there is a violation. The data directory stays
// if there was one.
func run(t *testing.T, seed uint64, command []string, rounds int, interval time.Duration) *verdict {
	t.Helper()
	dir, err := os.MkdirTemp("", "midge-crash-")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(seed, command, dir)
	w.interval = interval
	t.Cleanup(func() {
		w.broker.kill()
		if !t.Failed() {
			os.RemoveAll(dir)
			return
		}
		t.Logf("the data directory is left in %s", dir)
		for i, log := range w.broker.logs[max(0, len(w.broker.logs)-3):] {
			t.Logf("log of process %d of the last 3:\n%s", i+1, log[max(0, len(log)-4000):])
		}
	})
	if err := w.run(rounds, func(row string) { fmt.Println(row) }); err != nil {
		w.verdict.violation(unexpected, "%v", err)
	}
	w.verdict.setKilling(true)
	w.broker.kill()
	for _, c := range w.clients() {
		c.hangUp()
	}
	return w.verdict
}

const header = "round  kills   uptime    QoS 0    QoS 1    QoS 2  received  again at 1   lost  twice at 2  disorder  restart   on disk"

// run is the life of the world. The figures of a row are those of its round, and
// losses those found by its end.
func (w *world) run(rounds int, print func(row string)) error {
	restart, err := w.broker.start(w.verdict)
	if err != nil {
		return err
	}
	if err := w.subscribeAll(); err != nil {
		return err
	}
	print(header)
	begin := time.Now()
	kills := 0
	for round := 1; round <= rounds && !w.verdict.failed(); round++ {
		before := w.ledger.totals()
		uptime, n, err := w.crash(round)
		if err == nil {
			restart, err = w.broker.start(w.verdict)
		}
		w.verdict.setKilling(false)
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if q := w.broker.quarantined(); len(q) > 0 {
			w.verdict.violation(lost, "the broker found its files damaged: %q", q)
		}
		w.chooseWhoRests()
		if round == rounds {
			for _, s := range w.subscribers {
				s.away = 0
			}
		}
		if err := w.settle(round); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		kills += n
		print(w.row(round, n, uptime, restart, before, w.ledger.totals()))
		if round == rounds {
			break
		}
	}
	if !w.verdict.failed() {
		w.oweWills()
		for _, s := range w.subscribers {
			s.drained()
		}
	}
	all := w.ledger.totals()
	print(fmt.Sprintf("%d kills in %.1f s; acknowledged: %d at QoS 1, %d at QoS 2; received: %d, again at QoS 1: %d; violations: %d",
		kills, time.Since(begin).Seconds(), all.acked[1], all.acked[2], all.received, all.repeated, w.verdict.total()))
	return nil
}

// crash is the first part of a round: load and kill, and perhaps more kills
// soon after the restart, or during it.
func (w *world) crash(round int) (uptime time.Duration, kills int, err error) {
	if round == 1 {
		if err := w.dialAll(); err != nil {
			return 0, 0, err
		}
	}
	if err := w.dialWills(round); err != nil {
		return 0, 0, err
	}
	uptime = time.Duration(100+w.rng.IntN(1000)) * time.Millisecond
	w.loadAndKill(round, uptime)
	kills = 1
	if w.rng.IntN(4) == 0 {
		if err := w.broker.startAndKill(); err != nil {
			return 0, 0, err
		}
		kills++
	}
	if w.rng.IntN(3) == 0 && !w.verdict.failed() {
		if _, err := w.broker.start(w.verdict); err != nil {
			return 0, 0, err
		}
		w.verdict.setKilling(false)
		if err := w.dialAll(); err != nil {
			return 0, 0, err
		}
		again := time.Duration(w.rng.IntN(200)) * time.Millisecond
		w.loadAndKill(round, again)
		uptime += again
		kills++
	}
	return uptime, kills, nil
}

func (w *world) row(round, kills int, uptime, restart time.Duration, before, after totals) string {
	return fmt.Sprintf("%5d %6d %6d ms %8d %8d %8d %9d %11d %6d %11d %9d %5d ms %5d KiB",
		round, kills, uptime.Milliseconds(),
		after.acked[0]-before.acked[0], after.acked[1]-before.acked[1], after.acked[2]-before.acked[2],
		after.received-before.received, after.repeated-before.repeated,
		w.verdict.count(lost), w.verdict.count(duplicate), w.verdict.count(order), restart.Milliseconds(), w.broker.size()>>10)
}
