package storetool

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// Stats writes how many sessions, messages and records there are, the room
// they take, and the biggest queues: at most biggest of them.
func Stats(w io.Writer, o Options, biggest int) error {
	c := &census{queues: map[uint64]*queue{}}
	var uses []store.Use
	var usage error
	format := 0
	lost, err := read(o, func(v *pebblestore.View, _ *store.Store) store.Loader {
		format = v.Format()
		uses, usage = store.Usage(v)
		return c
	})
	if err = cmp.Or(err, hint(usage)); err != nil {
		return err
	}
	p := &printer{w: w}
	p.line("directory %s, %s", o.Dir, formatText(format))
	c.print(p, biggest)
	if len(lost) > 0 {
		p.line("\ncannot be read and is not counted above: %d records; see 'midge store check'", len(lost))
	}
	p.line("\n%-20s %10s %14s", "records", "number", "bytes")
	for _, u := range uses {
		p.line("%-20s %10d %14d", u.Kind, u.Records, u.Bytes)
	}
	p.files(o.Dir)
	return p.err
}

// census counts what a broker would load. It implements store.Loader.
type census struct {
	queues        map[uint64]*queue // by the number of the session
	groups        int               // of these, queues of shared subscriptions
	connected     int               // sessions whose connection the broker ended with
	lasting       int               // sessions that never expire
	subscriptions int
	shared        int // of these
	retained      total
	wills         int
	messages      total // waiting, each counted once for each record of it
}

// total is a number of messages and their bytes: topics, payloads and
// properties.
type total struct {
	number int
	bytes  int64
}

func (t *total) add(bytes int) { t.number, t.bytes = t.number+1, t.bytes+int64(bytes) }

// queue is what waits for a session.
type queue struct {
	client   string // or the shared subscription whose queue it is
	waiting  total
	begun    int // QoS 2 exchanges towards the client
	incoming int // QoS 2 messages from it that are not released
}

func (c *census) Session(s store.Session) {
	if share, ok := store.QueueOf(s.ClientID); ok {
		c.queues[s.Number] = &queue{client: displayed(share)}
		c.groups++
		return
	}
	c.queues[s.Number] = &queue{client: displayed(s.ClientID)}
	switch {
	case s.Expiry == math.MaxUint32: // nobody has written when it left, since nothing depends on that
		c.lasting++
	case s.Left == 0:
		c.connected++
	}
}

func (c *census) Will(store.Will) { c.wills++ }

func (c *census) Subscription(_ uint64, s store.Subscription) {
	c.subscriptions++
	if strings.HasPrefix(s.Filter, "$share/") {
		c.shared++
	}
}

func (c *census) Retained(m *message.Message) { c.retained.add(m.Size()) }

func (c *census) Incoming(session uint64, _ packet.ID) { c.queues[session].incoming++ }

func (c *census) Waiting(w store.Waiting) {
	c.messages.add(w.Size)
	for _, rc := range w.All {
		q := c.queues[rc.Session]
		q.waiting.add(w.Size)
		if rc.Begun.ID != 0 {
			q.begun++
		}
	}
}

func (c *census) AwaitPubcomp(session uint64, _ message.Key, _ packet.ID) { c.queues[session].begun++ }

func (c *census) Shard(session uint64) int {
	if c.queues[session] == nil {
		return -1
	}
	return 0
}

func (c *census) print(p *printer, biggest int) {
	var all queue
	queues := slices.Collect(maps.Values(c.queues))
	for _, q := range queues {
		all.waiting.number += q.waiting.number
		all.waiting.bytes += q.waiting.bytes
		all.begun += q.begun
		all.incoming += q.incoming
	}
	p.line("\nsessions             %10d   %d never expire; of the others %d were connected when the broker ended", len(queues)-c.groups, c.lasting, c.connected)
	p.line("subscriptions        %10d   %d of them shared", c.subscriptions, c.shared)
	if c.groups > 0 {
		p.line("queues of groups     %10d   shared subscriptions for which messages waited", c.groups)
	}
	p.line("waiting messages     %10d   %d bytes; in the queues of sessions: %d, %d bytes", c.messages.number, c.messages.bytes, all.waiting.number, all.waiting.bytes)
	p.line("QoS 2 exchanges      %10d   towards clients; %d from clients", all.begun, all.incoming)
	p.line("retained messages    %10d   %d bytes", c.retained.number, c.retained.bytes)
	p.line("wills                %10d", c.wills)
	queues = slices.DeleteFunc(queues, func(q *queue) bool { return q.waiting.number == 0 })
	slices.SortFunc(queues, func(a, b *queue) int {
		return cmp.Or(cmp.Compare(b.waiting.number, a.waiting.number), cmp.Compare(b.waiting.bytes, a.waiting.bytes), cmp.Compare(a.client, b.client))
	})
	if len(queues) == 0 || biggest <= 0 {
		return
	}
	p.line("\n%-40s %10s %14s", fmt.Sprintf("biggest of %d queues, by client id", len(queues)), "messages", "bytes")
	for _, q := range queues[:min(biggest, len(queues))] {
		p.line("%-40q %10d %14d", q.client, q.waiting.number, q.waiting.bytes)
	}
}

// files writes how much room the parts of a directory take.
func (p *printer) files(dir string) {
	p.line("\n%-20s %10s %14s", "files", "number", "bytes")
	entries, err := os.ReadDir(dir)
	if err != nil {
		p.line("cannot be listed: %v", err)
		return
	}
	for _, e := range entries {
		var t total
		err := filepath.WalkDir(filepath.Join(dir, e.Name()), func(_ string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				t.add(int(info.Size()))
			}
			return err
		})
		p.line("%-20s %10d %14d%s", e.Name(), t.number, t.bytes, map[bool]string{true: "   not all of them"}[err != nil])
	}
}
