package ldap

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

// maxCached is how many users are remembered. Beyond it all are forgotten: whoever
// comes back is asked about.
const maxCached = 10_000

// cache remembers users whose password was right, by a digest that is worth nothing
// without a key which is in memory only.
type cache struct {
	time time.Duration // 0: nothing is remembered
	key  [32]byte

	mu  sync.Mutex
	all map[[sha256.Size]byte]remembered
}

type remembered struct {
	user  user
	until time.Time
}

func (c *cache) init(d time.Duration) {
	c.time = d
	rand.Read(c.key[:])
	c.clear()
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = map[[sha256.Size]byte]remembered{}
}

// digest is that of a name and a password.
func (c *cache) digest(name string, password []byte) (d [sha256.Size]byte) {
	h := hmac.New(sha256.New, c.key[:])
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(name))))
	h.Write([]byte(name))
	h.Write(password)
	h.Sum(d[:0])
	return d
}

func (c *cache) get(name string, password []byte) (user, bool) {
	if c.time == 0 {
		return user{}, false
	}
	d := c.digest(name, password)
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.all[d]
	if ok && !time.Now().Before(r.until) {
		delete(c.all, d)
		ok = false
	}
	return r.user, ok
}

func (c *cache) put(name string, password []byte, u user) {
	if c.time == 0 {
		return
	}
	d := c.digest(name, password)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) >= maxCached {
		clear(c.all)
	}
	c.all[d] = remembered{u, time.Now().Add(c.time)}
}
