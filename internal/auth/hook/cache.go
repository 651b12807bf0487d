package hook

import (
	"container/list"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"sync"
	"time"
)

// entryBytes is what an answer takes in memory beside its texts: a place in a map and in
// a list, and itself.
const entryBytes = 300

// cache remembers answers by their questions. Those that deny have a part of their own, so that
// wrong passwords don't push out the right ones.
type cache struct {
	key    [32]byte // of digests: exists in memory only
	hashes sync.Pool

	mu      sync.Mutex
	allowed part
	denied  part
}

// digest stands for a question: passwords aren't kept.
type digest [sha256.Size]byte

// part has answers, bounded by the bytes that they take.
type part struct {
	byKey map[digest]*list.Element
	used  *list.List // of *entry: the one used last is in front
	bytes int
	max   int
}

type entry struct {
	key    digest
	answer *answer
	until  time.Time
	bytes  int
}

func (c *cache) init(max int) {
	rand.Read(c.key[:])
	c.hashes.New = func() any { return hmac.New(sha256.New, c.key[:]) }
	c.allowed.max, c.denied.max = max-max/4, max/4
	c.clear()
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range []*part{&c.allowed, &c.denied} {
		p.byKey, p.used, p.bytes = map[digest]*list.Element{}, list.New(), 0
	}
}

// of is the digest of a question.
func (c *cache) of(question []byte) (d digest) {
	h := c.hashes.Get().(hash.Hash)
	defer c.hashes.Put(h)
	h.Reset()
	h.Write(question)
	h.Sum(d[:0])
	return d
}

// get finds an answer, nil if there is none, and how long it is remembered.
func (c *cache) get(key digest, now time.Time) (*answer, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range []*part{&c.allowed, &c.denied} {
		e := p.byKey[key]
		if e == nil {
			continue
		}
		x := e.Value.(*entry)
		if !now.Before(x.until) {
			p.remove(e)
			continue
		}
		p.used.MoveToFront(e)
		return x.answer, x.until
	}
	return nil, time.Time{}
}

// put remembers an answer until a time.
func (c *cache) put(key digest, a *answer, now, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range []*part{&c.allowed, &c.denied} {
		if e := p.byKey[key]; e != nil {
			p.remove(e)
		}
	}
	if !now.Before(until) {
		return
	}
	p := &c.allowed
	if a.denies() {
		p = &c.denied
	}
	e := &entry{key, a, until, entryBytes + a.bytes}
	p.byKey[key] = p.used.PushFront(e)
	p.bytes += e.bytes
	for p.bytes > p.max {
		p.remove(p.used.Back())
	}
}

func (p *part) remove(e *list.Element) {
	x := p.used.Remove(e).(*entry)
	delete(p.byKey, x.key)
	p.bytes -= x.bytes
}
