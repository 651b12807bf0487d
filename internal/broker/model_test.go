package broker

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The model test runs random clients that follow the standard against a whole
// broker, and knows from what they were told and saw what the broker owes them:
//
//   - nothing that was acknowledged is lost, unless a counter says so;
//   - QoS 2 comes once; DUP says what came before; messages of a topic keep their order;
//   - nobody gets what he has not subscribed to;
//   - what waits for a client is bounded, and all that is held is within the budget;
//   - everybody who reads gets on, however slowly, and is not thrown out;
//   - everything is answered, and refused only if what it needs is short.
//
// Most of it runs on a world whose time, disk and threads are the test's, so that
// a seed repeats it: model_test.go (what is run), history_test.go (the broker over
// its lives), actor_test.go (a client), ledger_test.go (what it is owed),
// shortage_test.go (what runs short for a while, and may be refused then).
// Packets are read and written by midge/test/wire, not by the broker's codec.
//
//	MIDGE_SEED           run one seed only
//	MIDGE_MODEL_MINUTES  run for that long, instead of a number of seeds
//	MIDGE_MODEL_ALSO     what is known to fail and to be done all the same: names
//	                     from known with commas between, or "all"
//	MIDGE_CUTS           power cuts of TestPowerCuts

// known has what clients may do that shows a fault of the broker which is not
// mended yet, and where it is described. The model leaves it out. Nothing is.
var known = map[string]string{}

// does reports whether the clients of the model do something.
func does(what string) bool {
	also := os.Getenv("MIDGE_MODEL_ALSO")
	return known[what] == "" || also == "all" || slices.Contains(strings.Split(also, ","), what)
}

// number is what a variable of the environment says, 0 if it is not set.
func number(t *testing.T, name string) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// firstSeed is where histories begin. A run that explores takes seeds that no run
// had before; any other repeats the same ones, so that what it finds comes of the
// change that it tests.
func firstSeed(explores bool) uint64 {
	if explores {
		return uint64(time.Now().UnixNano())
	}
	return 1
}

// TestModel runs histories of all kinds.
func TestModel(t *testing.T) {
	if seed := number(t, "MIDGE_SEED"); seed != 0 {
		runHistory(t, seed, anyKind(seed))
		return
	}
	minutes := number(t, "MIDGE_MODEL_MINUTES")
	start := firstSeed(minutes > 0)
	end := time.Now().Add(time.Duration(minutes) * time.Minute)
	const seeds = 300
	t.Logf("seeds from %d", start)
	const workers = 2
	for w := range uint64(workers) {
		t.Run(fmt.Sprint("worker", w), func(t *testing.T) {
			t.Parallel()
			for seed := start + w; minutes == 0 && seed < start+seeds || minutes > 0 && time.Now().Before(end); seed += workers {
				runHistory(t, seed, anyKind(seed))
			}
		})
	}
}

// TestPowerCuts runs histories with many power cuts: between two packets, two
// turns, a write and its sync.
func TestPowerCuts(t *testing.T) {
	cuts := 10_000
	if n := number(t, "MIDGE_CUTS"); n != 0 {
		cuts = int(n)
	}
	kind := func(seed uint64) kind {
		k := anyKind(seed)
		k.durable, k.lives, k.steps = true, 40, 100
		return k
	}
	if seed := number(t, "MIDGE_SEED"); seed != 0 {
		runHistory(t, seed, kind(seed))
		return
	}
	start := firstSeed(number(t, "MIDGE_CUTS") > 10_000)
	t.Logf("%d cuts, seeds from %d", cuts, start)
	const workers = 2
	for w := range workers {
		t.Run(fmt.Sprint("worker", w), func(t *testing.T) {
			t.Parallel()
			for i := w; i < cuts/40; i += workers {
				runHistory(t, start+uint64(i), kind(start+uint64(i)))
			}
		})
	}
}

// kind is what a history is like.
type kind struct {
	durable  bool
	lives    int // the power is cut between two
	steps    int // of a life, at most
	clients  int
	pending  int    // Limits.PendingBytes
	retained int    // Limits.RetainedMessages, 0: as many as come
	large    bool   // some messages are as large as packets may be
	slow     bool   // some clients read slowly
	late     bool   // the Authenticator answers late
	rows     bool   // messages come in rows, and are acknowledged late, many at a time
	lacks    bool   // the disk is full now and then, or the system is short of descriptors or memory
	mount    string // of all clients; "": they have none
	few      bool   // there may be as many connections as there are clients
	memory   int    // the budget for memory in bytes, 0: as much as it takes
}

// anyKind draws the kind of a history.
func anyKind(seed uint64) kind {
	r := rand.New(rand.NewPCG(seed, 3))
	k := kind{
		durable: r.IntN(3) > 0, lives: 1, steps: 1500, clients: 5 + r.IntN(5),
		pending: 1 << 20, slow: r.IntN(3) == 0, late: r.IntN(2) == 0,
	}
	if rand.New(rand.NewPCG(seed, 7)).IntN(3) == 0 {
		k.mount = "a/tenant/"
	}
	if k.durable {
		k.lives, k.steps = 1+r.IntN(12), 300
	}
	if does("expired retains") && r.IntN(4) == 0 {
		k.retained = k.clients
	}
	if does("large messages") && r.IntN(4) == 0 {
		k.pending, k.large = 16<<10, true
	}
	k.rows = r.IntN(3) == 0
	k.lacks, k.few = r.IntN(2) == 0, r.IntN(4) == 0
	if r.IntN(4) == 0 {
		k.memory, k.pending, k.large, k.slow = 512<<10<<r.IntN(2), 4<<20, true, true
		k.lives = min(k.lives, 2)
		k.steps = 1500 / k.lives
	}
	return k
}

func (k kind) String() string {
	words := []string{fmt.Sprintf("%d clients", k.clients), "in memory"}
	if k.durable {
		words[1] = fmt.Sprintf("%d lives", k.lives)
	}
	if k.large {
		words = append(words, "large messages")
	}
	if k.slow {
		words = append(words, "slow readers")
	}
	if k.late {
		words = append(words, "late access")
	}
	if k.rows {
		words = append(words, "rows")
	}
	if k.lacks {
		words = append(words, "shortages")
	}
	if k.few {
		words = append(words, "few connections")
	}
	if k.memory > 0 {
		words = append(words, fmt.Sprintf("%d bytes of memory", k.memory))
	}
	return strings.Join(words, ", ")
}
