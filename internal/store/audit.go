package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"midge/internal/message"
	"midge/internal/packet"
)

// Reader is what tools need of a Backend.
type Reader interface {
	Get(dst, key []byte) ([]byte, error)
	Scan(from, to []byte, yield func(key, value []byte) error) error
}

// ReadOnly makes a Backend of a Reader. It accepts all commits and does nothing: a
// Store on it loads what a broker would load, and leaves everything as it is.
func ReadOnly(r Reader) Backend { return readOnly{Reader: r} }

type readOnly struct {
	Reader
	changed func(c Change) // gets what Load would change; nil: nobody
}

func (b readOnly) Commit(_ bool, lists ...*Changes) error {
	for _, l := range lists {
		for c := range l.All() {
			if b.changed != nil {
				b.changed(c)
			}
		}
	}
	return nil
}

func (b readOnly) Quarantine([]Damaged) error { return nil }

func (b readOnly) Close() error { return nil }

// kindNames are the kinds of records in plain words, by the first byte of the key.
func kindNames() map[byte]string {
	return map[byte]string{
		kindSession: "sessions", kindSubscription: "subscriptions", kindReceivers: "receivers", kindMessage: "separate messages",
		kindIncoming: "QoS 2 received", kindOutgoing: "QoS 2 sent", kindWill: "wills", kindRetained: "retained messages",
		kindUndecided: "undecided messages", kindClock: "clock",
	}
}

// Use is how much room the records of a kind take.
type Use struct {
	Kind    string
	Records int
	Bytes   int64 // keys and values, before compression
}

// Usage counts all records, by the order of their kinds.
func Usage(r Reader) (all []Use, err error) {
	kinds := kindNames()
	last := -1
	err = r.Scan([]byte{0}, bytes.Repeat([]byte{0xff}, 16), func(key, value []byte) error {
		if last != int(key[0]) {
			last = int(key[0])
			name, known := kinds[key[0]]
			if !known {
				name = fmt.Sprintf("unknown (%#02x)", key[0])
			}
			all = append(all, Use{Kind: name})
		}
		u := &all[len(all)-1]
		u.Records++
		u.Bytes += int64(len(key) + len(value))
		return nil
	})
	return all, err
}

// Finding is something that is wrong with a record.
type Finding struct {
	Record string // which one it is, in words
	Fault  string
	Lost   bool // it cannot be read, or lacks what it needs; otherwise it is only left over
}

// Audit reads every record as a start would, and checks that what it needs is
// there: that receivers have their message, exchanges their receivers and
// everything its session. It calls find for what it finds, and changes
// nothing. The error is one of the reader.
func Audit(r Reader, find func(Finding)) error {
	a := &audit{r: r, find: find, sessions: map[uint64]bool{}, damaged: map[string]bool{}}
	s := New(readOnly{r, a.changed}, Config{Shards: 1})
	damaged, err := s.Load(a)
	for _, d := range damaged {
		a.damaged[string(d.Key)] = true
		find(Finding{describe(d.Key), d.Err.Error(), true})
	}
	if err != nil {
		return err
	}
	for _, key := range a.leftOver {
		if !a.damaged[string(key)] {
			find(Finding{describe(key), "it is left over from something that has ended; the next start removes it", false})
		}
	}
	if err := a.messages(); err != nil {
		return err
	}
	if err := a.topics(); err != nil {
		return err
	}
	return a.unknown()
}

// audit implements Loader.
type audit struct {
	r        Reader
	find     func(Finding)
	sessions map[uint64]bool
	damaged  map[string]bool // keys
	leftOver [][]byte        // keys
	failed   error           // of the reader
}

func (a *audit) Session(s Session)                 { a.sessions[s.Number] = true }
func (a *audit) Will(Will)                         {}
func (a *audit) Subscription(uint64, Subscription) {}
func (a *audit) Retained(*message.Message)         {}
func (a *audit) Incoming(uint64, packet.ID)        {}

func (a *audit) AwaitPubcomp(uint64, message.Key, packet.ID) {}

// Shard puts all sessions on one shard: Load then brings all receivers of a
// message together.
func (a *audit) Shard(session uint64) int {
	if a.sessions[session] {
		return 0
	}
	return -1
}

// Waiting checks that a separate message exists.
func (a *audit) Waiting(w Waiting) {
	if !w.Separate || a.failed != nil {
		return
	}
	record := fmt.Sprintf("receivers of message %d/%d", w.Key.Seq(), w.Key.Part())
	b, err := a.r.Get(nil, messageKey(nil, w.Key))
	switch {
	case errors.Is(err, ErrNotFound):
		a.find(Finding{record, fmt.Sprintf("the message is missing, which %d sessions wait for", len(w.All)), true})
	case err != nil:
		a.failed = err
	default:
		if m, err := decodeMessage(b, timeline{}); err == nil && m.Size() != w.Size {
			a.find(Finding{record, fmt.Sprintf("the message has %d bytes, and %d were written", m.Size(), w.Size), true})
		}
	}
}

// changed notes what a start would delete, if it exists. Receivers do
// not count: Load also moves them, and a list may hold sessions that are gone.
func (a *audit) changed(c Change) {
	if c.Op == OpSet || len(c.Key) == 0 || c.Key[0] == kindReceivers {
		return
	}
	switch _, err := a.r.Get(nil, c.Key); {
	case err == nil:
		a.leftOver = append(a.leftOver, bytes.Clone(c.Key))
	case !errors.Is(err, ErrNotFound):
		a.failed = err
	}
}

// messages checks the separate ones: somebody should wait for each.
func (a *audit) messages() error {
	if a.failed != nil {
		return a.failed
	}
	return a.r.Scan([]byte{kindMessage}, []byte{kindMessage + 1}, func(key, value []byte) error {
		n, rest, err := number(key[1:])
		k := message.Key(n)
		if err != nil || len(rest) > 0 || shared(k) && k.Part() != partShards {
			a.find(Finding{describe(key), "there is no such key", true})
			return nil
		}
		if _, err := decodeMessage(value, timeline{}); err != nil {
			a.find(Finding{describe(key), err.Error(), true})
		}
		wanted, err := a.wanted(k)
		if err == nil && !wanted {
			a.find(Finding{describe(key), "nobody waits for it; it only takes room", false})
		}
		return err
	})
}

// wanted reports whether a separate message has receivers, or may get some.
func (a *audit) wanted(k message.Key) (found bool, err error) {
	if shared(k) {
		if _, err := a.r.Get(nil, undecidedKey(nil, k.Seq())); !errors.Is(err, ErrNotFound) {
			return err == nil, err
		}
	}
	from, to := receiversKey(nil, k), receiversKey(nil, k+1)
	if shared(k) {
		to = receiversKey(nil, message.NewKey(k.Seq(), partGroups))
	}
	enough := errors.New("found")
	err = a.r.Scan(from, to, func(_, _ []byte) error { return enough })
	if errors.Is(err, enough) {
		return true, nil
	}
	return false, err
}

// topics checks that retained messages lie under their own topics.
func (a *audit) topics() error {
	return a.r.Scan([]byte{kindRetained}, []byte{kindRetained + 1}, func(key, value []byte) error {
		if m, err := decodeMessage(value, timeline{}); err == nil && !bytes.Equal(m.Topic, key[1:]) {
			a.find(Finding{describe(key), fmt.Sprintf("it holds a message to %q", m.Topic), true})
		}
		return nil
	})
}

// unknown finds records of no kind.
func (a *audit) unknown() error {
	kinds := kindNames()
	for from := 0; from < 256; from++ {
		if _, known := kinds[byte(from)]; known {
			continue
		}
		to := from + 1
		for ; to < 256; to++ {
			if _, known := kinds[byte(to)]; known {
				break
			}
		}
		end := []byte{byte(to)}
		if to == 256 {
			end = bytes.Repeat([]byte{0xff}, 16)
		}
		err := a.r.Scan([]byte{byte(from)}, end, func(key, _ []byte) error {
			a.find(Finding{describe(key), "there is no such kind of record", true})
			return nil
		})
		if err != nil {
			return err
		}
		from = to
	}
	return nil
}

// describe says in words which record a key is of.
func describe(key []byte) string {
	if len(key) > 1 && key[0] == kindRetained {
		return fmt.Sprintf("retained message to %q", key[1:])
	}
	if bytes.Equal(key, clockKey(nil)) {
		return "the clock"
	}
	if len(key) < 9 {
		return fmt.Sprintf("record %x", key)
	}
	n, rest := binary.BigEndian.Uint64(key[1:]), key[9:]
	k := message.Key(n)
	switch {
	case key[0] == kindSession && len(rest) == 0:
		return fmt.Sprintf("session %d", n)
	case key[0] == kindSubscription:
		return fmt.Sprintf("subscription of session %d to %q", n, rest)
	case key[0] == kindIncoming && len(rest) == 2:
		return fmt.Sprintf("QoS 2 message %d received from session %d", binary.BigEndian.Uint16(rest), n)
	case key[0] == kindOutgoing && len(rest) == 8:
		k = message.Key(binary.BigEndian.Uint64(rest))
		return fmt.Sprintf("QoS 2 exchange of message %d/%d with session %d", k.Seq(), k.Part(), n)
	case key[0] == kindUndecided && len(rest) == 0:
		return fmt.Sprintf("undecided message %d", n)
	case key[0] == kindWill && len(rest) == 0:
		return fmt.Sprintf("will %d", n)
	case key[0] == kindMessage && len(rest) == 0:
		return fmt.Sprintf("message %d/%d", k.Seq(), k.Part())
	case key[0] == kindReceivers && len(rest) == 0:
		return fmt.Sprintf("receivers of message %d/%d", k.Seq(), k.Part())
	case key[0] == kindReceivers && len(rest) == 8:
		return fmt.Sprintf("list %d of receivers of message %d/%d that are done", binary.BigEndian.Uint64(rest), k.Seq(), k.Part())
	}
	return fmt.Sprintf("record %x", key)
}
