// Package passwordfile has user names and hashed passwords in a file, one on a
// line, as name:hash. It reads what mosquitto_passwd, htpasswd -B and 'midge
// passwd' write: argon2, bcrypt, PBKDF2 or one round of SHA-512, and credentials for
// SCRAM-SHA-256.
//
// Files, from the bottom up: hash.go, passwordfile.go,
// edit.go, link.go, scram.go.
package passwordfile

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"sync/atomic"
	"unicode/utf8"
)

// maxFile bounds what is read of a file: more is not one of passwords. Guess:
// 100,000 users have 13 MB.
const maxFile = 256 << 20

// Fault is a line that is left out, and why.
type Fault struct {
	Line int // from 1 on
	Err  error
}

func (f Fault) Error() string { return fmt.Sprintf("line %d: %v", f.Line, f.Err) }

// users are the users of a file. They don't change.
type users struct {
	byName map[string]*entry
	list   []*entry // in the order of the file
	seed   maphash.Seed

	iterations int    // of the first one with credentials for SCRAM; 0: nobody has any
	madeUp     []byte // the key for salts of users that have none; nil: the file has no such key
}

// madeUpPrefix begins the line with that key, which 'midge passwd' writes. It is a
// comment to others.
const madeUpPrefix = "#scram-key:"

// entry is a user.
type entry struct {
	text string // of the hash
	hash hash

	// proof is of the password that was right last, so that a client which comes
	// back costs no second check: a storm of them would take minutes. It is worth
	// nothing without File.key.
	proof atomic.Pointer[[sha256.Size]byte]
}

// parse reads a file. What it can't read it leaves out.
func parse(text []byte) (u *users, faults []Fault) {
	u = &users{byName: map[string]*entry{}, seed: maphash.MakeSeed()}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		name, h, err := parseLine(line)
		switch {
		case err != nil:
		case h == "":
			if key, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte(madeUpPrefix)); ok && u.madeUp == nil {
				u.madeUp = bytes.Clone(key)
			}
			continue
		case u.byName[name] != nil:
			err = fmt.Errorf("user %q is there already", name)
		default:
			e := &entry{text: h}
			if e.hash, err = parseHash(h); err == nil {
				u.byName[name] = e
				u.list = append(u.list, e)
				if s, ok := e.hash.(*salty); ok && u.iterations == 0 {
					u.iterations = s.Iterations
				}
			}
		}
		if err != nil {
			faults = append(faults, Fault{n, err})
		}
	}
	return u, faults
}

// parseLine cuts a line in two. hash is "" if there is no user in it.
func parseLine(line []byte) (name, hash string, err error) {
	line = bytes.TrimRight(line, "\r\n")
	if len(bytes.TrimSpace(line)) == 0 || line[0] == '#' {
		return "", "", nil
	}
	before, after, ok := bytes.Cut(line, []byte(":"))
	switch {
	case !ok:
		return "", "", errors.New("no colon: write name:hash")
	case len(before) == 0:
		return "", "", errors.New("no user name before the colon")
	case !utf8.Valid(before):
		return "", "", errors.New("the user name is not UTF-8, so that no client can have it")
	case len(bytes.TrimSpace(after)) == 0:
		return "", "", errors.New("no hash behind the colon")
	}
	return string(before), string(bytes.TrimSpace(after)), nil
}

// keep takes over what is known of users whose hash has not changed.
func (u *users) keep(before *users) {
	for name, e := range u.byName {
		if old := before.byName[name]; old != nil && old.text == e.text {
			e.proof.Store(old.proof.Load())
		}
	}
}

// find returns the entry of a user. For one that is not there it is that of
// another one, always the same: so the time that a check takes doesn't tell who is
// there.
func (u *users) find(name []byte) (e *entry, known bool) {
	if e = u.byName[string(name)]; e != nil {
		return e, true
	}
	if len(u.list) == 0 {
		return nil, false
	}
	return u.list[maphash.Bytes(u.seed, name)%uint64(len(u.list))], false
}

// newKey makes a key for proofs, which is in memory only.
func newKey() (key [32]byte) {
	rand.Read(key[:])
	return key
}

func proofOf(key *[32]byte, password []byte) (p [sha256.Size]byte) {
	h := hmac.New(sha256.New, key[:])
	h.Write(password)
	h.Sum(p[:0])
	return p
}

// recalls reports whether a password was right before.
func (e *entry) recalls(key *[32]byte, password []byte) bool {
	p := e.proof.Load()
	if p == nil {
		return false
	}
	now := proofOf(key, password)
	return hmac.Equal(p[:], now[:])
}

// read reads the text of a file.
func read(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s has %d bytes; a password file has %d at most", name, info.Size(), maxFile)
	}
	return os.ReadFile(name)
}
