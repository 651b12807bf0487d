package storetool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"midge/internal/message"
	"midge/internal/mosquitto/db"
	"midge/internal/store"
	"midge/internal/store/pebblestore"
	"midge/internal/topic"
)

// Importing says what to import, and where to.
type Importing struct {
	File    string // of Mosquitto
	Dir     string
	Replace bool      // puts aside what Dir holds, into a directory in it; without, it must be empty or not exist
	Without []string  // client ids that are not imported, as patterns of path.Match
	Now     time.Time // what has expired by now is left out
}

// Import makes a data directory of Mosquitto's persistence file: sessions with
// their subscriptions and queues, and retained messages.
//
// The file is read as a whole before anything is written. The database is made in
// a directory of its own, and moved when it is complete and on disk: a crash
// leaves all of it or nothing.
func Import(w io.Writer, o Importing) error {
	text, err := os.ReadFile(o.File)
	if err != nil {
		return err
	}
	f, err := db.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w; nothing is imported", o.File, err)
	}
	im := newImporter(f, o.Without, o.Now)
	aside, err := makeEmpty(o.Dir, o.Replace, o.Now)
	if err != nil {
		return err
	}
	if err := im.write(o.Dir); err != nil {
		return fmt.Errorf("import into %s: %w", o.Dir, err)
	}
	p := &printer{w: w}
	p.line("%s: format %d, %d bytes", o.File, f.Format, len(text))
	if aside != "" {
		p.line("what was in %s is in %s", o.Dir, aside)
	}
	im.print(p)
	return p.err
}

// unfinished is the directory in which a database is made.
const unfinished = "import.tmp"

// makeEmpty sees to it that a directory exists and holds no data, and that no broker
// runs on it. aside is where its data is now, "" for none.
func makeEmpty(dir string, replace bool, now time.Time) (aside string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return "", err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "lost+found" || e.Name() == unfinished })
	switch {
	case len(entries) == 0:
		return "", nil
	case !replace:
		return "", fmt.Errorf("%s is not empty: name another directory, or put what it holds aside with --replace", dir)
	}
	if v, _, err := pebblestore.OpenView(dir, pebblestore.Options{}); err == nil {
		if err := v.Close(); err != nil {
			return "", err
		}
	} else if errors.Is(err, pebblestore.ErrInUse) {
		return "", fmt.Errorf("a broker runs on %s: stop it first (%w)", dir, err)
	}
	aside = filepath.Join(dir, "replaced-"+now.UTC().Format("20060102T150405Z"))
	if err := os.Mkdir(aside, 0o700); err != nil {
		return "", err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(aside, e.Name())); err != nil {
			return "", err
		}
	}
	return aside, nil
}

// importer turns a file into records.
type importer struct {
	file    *db.File
	now     time.Time
	waiting []*waiting // in the order of their numbers
	begun   []delivery // QoS 2 exchanges whose message the client has
	numbers map[string]uint64
	counts  counts
}

// counts are what is imported, and what is not.
type counts struct {
	subscriptions, waiting, exchanges, received, retained int
	expired, ended, unwanted, qos0, orphans               int
}

// waiting is a message with those that are to get it.
type waiting struct {
	m         *db.Message
	after     uint64 // the number in the file that it comes after, or its own
	copy      int    // 0: it is the message of that number
	receivers []delivery
}

// delivery is a delivery that was in the file, or that follows from a message
// which a client has sent.
type delivery struct {
	*db.Delivery
	share string
}

// exchange is a QoS 2 exchange towards a client.
type exchange struct {
	delivery
	key message.Key
}

func newImporter(f *db.File, without []string, now time.Time) *importer {
	im := &importer{file: f, now: now, numbers: map[string]uint64{}}
	im.counts.orphans = f.Gone
	for i := range f.Clients {
		c := &f.Clients[i]
		if c.Expiry == 0 || !c.Ends.IsZero() && !c.Ends.After(now) {
			im.counts.ended++
			continue
		}
		if slices.ContainsFunc(without, func(pattern string) bool { m, _ := path.Match(pattern, c.ID); return m }) {
			im.counts.unwanted++
			continue
		}
		im.numbers[c.ID] = uint64(len(im.numbers) + 1)
	}
	im.order()
	return im
}

// expired reports whether a message has expired, and should not be there.
func (im *importer) expired(m *db.Message) bool {
	return !m.Expires.IsZero() && !m.Expires.After(im.now)
}

// order gives messages an order in which those of each client are as in its queue.
// That is the order of their numbers but for clients that were sent an old one
// late, such as a retained one; they get a copy.
func (im *importer) order() {
	first := map[uint64]*waiting{}
	last := map[string]*waiting{}
	add := func(d delivery) {
		after, copies := d.Message, 0
		if l := last[d.ClientID]; l != nil && l.after >= d.Message {
			after, copies = l.after, l.copy+1
		}
		w := first[after]
		if w == nil || copies > 0 {
			w = &waiting{m: im.file.Messages[d.Message], after: after, copy: copies}
			im.waiting = append(im.waiting, w)
			if copies == 0 {
				first[after] = w
			}
		}
		w.receivers = append(w.receivers, d)
		last[d.ClientID] = w
	}
	for i := range im.file.Deliveries {
		d := &im.file.Deliveries[i]
		switch _, known := im.numbers[d.ClientID]; {
		case d.Incoming || d.State == db.ResendPubrel || d.State == db.AwaitPubcomp:
		case !known:
			im.counts.orphans++
		case d.QoS == 0:
			im.counts.qos0++
		case im.expired(im.file.Messages[d.Message]):
			im.counts.expired++
		default:
			add(delivery{Delivery: d})
		}
	}
	for i := range im.file.Deliveries {
		if d := &im.file.Deliveries[i]; d.Incoming && d.QoS == 2 && d.State != db.Queued {
			im.route(d, add)
		} else if d.State == db.ResendPubrel || d.State == db.AwaitPubcomp {
			if im.numbers[d.ClientID] > 0 {
				im.begun = append(im.begun, delivery{Delivery: d})
			} else {
				im.counts.orphans++
			}
		}
	}
	slices.SortStableFunc(im.waiting, func(a, b *waiting) int {
		return cmp.Or(cmp.Compare(a.after, b.after), cmp.Compare(a.copy, b.copy))
	})
}

// route delivers a QoS 2 message that Mosquitto has received from a client and
// would pass on at PUBREL. This broker does so when it comes; so it does now.
func (im *importer) route(d *db.Delivery, add func(delivery)) {
	m := im.file.Messages[d.Message]
	if im.expired(m) {
		return
	}
	to := map[string]*delivery{} // by client, or by shared subscription
	var all []*delivery
	for i := range im.file.Subscriptions {
		s := &im.file.Subscriptions[i]
		_, filter, shared, err := topic.ParseShared(s.Filter)
		if !shared {
			filter = s.Filter
		}
		_, known := im.numbers[s.ClientID]
		qos := min(s.QoS, m.QoS)
		if err != nil || !known || qos == 0 || !topic.Match(filter, string(m.Topic)) || s.NoLocal && s.ClientID == m.Publisher {
			continue
		}
		key, share := s.ClientID, ""
		if shared {
			key, share = store.QueueID(s.Filter), s.Filter
		}
		one := to[key]
		if one == nil {
			one = &delivery{&db.Delivery{ClientID: s.ClientID, Message: d.Message, State: db.Queued}, share}
			to[key], all = one, append(all, one)
		} else if shared {
			continue // one member gets it
		}
		one.QoS = max(one.QoS, qos)
		one.Retain = one.Retain || s.RetainAsPublished && m.Retain
		if s.ID > 0 {
			one.IDs = append(one.IDs, s.ID)
		}
	}
	for _, one := range all {
		add(*one)
	}
}

// since1970 is a time as records have it that a store without a clock writes.
func since1970(t time.Time) time.Duration {
	return time.Duration(t.UnixMilli()) * time.Millisecond
}

// message is a message as the store has it.
func (im *importer) message(m *db.Message) *message.Message {
	made := &message.Message{
		Topic: m.Topic, Payload: m.Payload, Properties: m.Properties, QoS: m.QoS, Retain: m.Retain, Publisher: m.Publisher,
	}
	if !m.Expires.IsZero() {
		made.Expires, made.Interval = since1970(m.Expires), math.MaxUint32
	}
	return made
}

// write makes the database beside its place and moves it there.
func (im *importer) write(dir string) (err error) {
	temporary := filepath.Join(dir, unfinished)
	if err := os.RemoveAll(temporary); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	backend, _, err := pebblestore.Open(temporary, pebblestore.Options{})
	if err != nil {
		return err
	}
	st := store.New(backend, store.Config{Shards: 1})
	im.records(st)
	st.Step()
	st.Sync()
	if err := errors.Join(st.Err(), backend.Close()); err != nil {
		return err
	}
	for _, name := range []string{"db", "FORMAT"} {
		if err := os.Rename(filepath.Join(temporary, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// turnBytes is how much is written at a time, about.
const turnBytes = 1 << 20

// pen writes records, some at a time.
type pen struct {
	store *store.Store
	turn  *store.Turn
	bytes int
}

// wrote counts bytes, about, and begins anew when there are many.
func (p *pen) wrote(n int) {
	if p.bytes += n + 64; p.bytes < turnBytes {
		return
	}
	p.store.Submit(0, p.turn)
	p.store.Step()
	p.turn, p.bytes = p.store.Turn(), 0
}

// records writes everything.
func (im *importer) records(st *store.Store) {
	p := &pen{store: st, turn: st.Turn()}
	sent := map[string]uint64{} // by client, one more than the last that was under way
	var begun []exchange
	for i := range im.begun { // their messages came before all that wait
		begun = append(begun, exchange{im.begun[i], message.NewKey(st.NextSeq(), store.PartOwn)})
	}
	for _, w := range im.waiting {
		k := message.NewKey(st.NextSeq(), store.PartOwn)
		m := im.message(w.m)
		var encoded []byte
		for i := range w.receivers {
			d := &w.receivers[i]
			encoded = store.AppendReceiver(encoded, &store.Receiver{
				Session: im.numbers[d.ClientID], QoS: d.QoS, Retain: d.Retain, IDs: d.IDs, Share: d.share,
			})
			if d.State != db.Queued {
				sent[d.ClientID] = k.Seq() + 1
			}
			if d.State == db.AwaitPubrec || d.State == db.PublishQoS2 {
				begun = append(begun, exchange{*d, k})
			}
		}
		p.turn.PutReceivers(k, len(w.receivers), encoded, m)
		im.counts.waiting += len(w.receivers)
		p.wrote(m.Size() + len(encoded))
	}
	for _, x := range begun {
		awaits := x.State == db.ResendPubrel || x.State == db.AwaitPubcomp
		p.turn.PutOutgoing(im.numbers[x.ClientID], x.key, store.Outgoing{ID: x.ID, AwaitsPubcomp: awaits})
		im.counts.exchanges++
		p.wrote(0)
	}
	for i := range im.file.Clients {
		c := &im.file.Clients[i]
		number := im.numbers[c.ID]
		if number == 0 {
			continue
		}
		s := store.Session{Number: number, ClientID: c.ID, Expiry: c.Expiry, Sent: cmp.Or(sent[c.ID], 1)}
		if !c.Ends.IsZero() && c.Expiry != math.MaxUint32 {
			s.Left = max(since1970(c.Ends)-time.Duration(c.Expiry)*time.Second, 1)
		}
		p.turn.PutSession(&s)
		p.wrote(len(c.ID))
	}
	im.subscriptions(p)
	im.received(p)
	im.retain(p)
	st.Submit(0, p.turn)
}

func (im *importer) subscriptions(p *pen) {
	for _, s := range im.file.Subscriptions {
		if number := im.numbers[s.ClientID]; number > 0 {
			p.turn.PutSubscription(number, &store.Subscription{
				Filter: s.Filter, ID: s.ID, QoS: s.QoS, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished,
			})
			im.counts.subscriptions++
			p.wrote(len(s.Filter))
		}
	}
}

// received writes which QoS 2 messages of clients await PUBREL.
func (im *importer) received(p *pen) {
	for _, d := range im.file.Deliveries {
		if number := im.numbers[d.ClientID]; number > 0 && d.Incoming && d.QoS == 2 && d.State != db.Queued {
			p.turn.PutIncoming(number, d.ID, false)
			im.counts.received++
			p.wrote(0)
		}
	}
}

// retain writes the retained messages, and those that received ones retain.
func (im *importer) retain(p *pen) {
	byTopic := map[string]*db.Message{}
	for _, n := range im.file.Retained {
		m := im.file.Messages[n]
		byTopic[string(m.Topic)] = m
	}
	for _, d := range im.file.Deliveries {
		if m := im.file.Messages[d.Message]; d.Incoming && d.QoS == 2 && d.State != db.Queued && m.Retain {
			byTopic[string(m.Topic)] = m
		}
	}
	for _, m := range byTopic {
		if im.expired(m) {
			im.counts.expired++
			continue
		}
		if len(m.Payload) == 0 {
			continue
		}
		made := im.message(m)
		made.Retain = true
		p.store.Retain(made)
		im.counts.retained++
		p.wrote(made.Size())
	}
}

// print tells what was imported, and what was not.
func (im *importer) print(p *printer) {
	c := &im.counts
	for _, row := range []struct {
		name string
		n    int
	}{
		{"sessions", len(im.numbers)},
		{"subscriptions", c.subscriptions},
		{"waiting messages", c.waiting},
		{"QoS 2 exchanges", c.exchanges + c.received},
		{"retained messages", c.retained},
	} {
		p.line("%-20s %10s", row.name, strconv.Itoa(row.n))
	}
	for _, row := range []struct {
		n    int
		text string
	}{
		{c.ended, "sessions that have expired, or end with their connection"},
		{c.unwanted, "sessions of clients that are not wanted"},
		{c.expired, "messages that have expired"},
		{c.qos0, "messages of QoS 0, which do not wait for clients"},
		{c.orphans, "messages of sessions that are not imported, or that are not in the file"},
	} {
		if row.n > 0 {
			p.line("left out: %d %s", row.n, row.text)
		}
	}
}
