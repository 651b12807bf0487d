package passwordfile

import (
	"fmt"
	"log/slog"
	"sync/atomic"

	"midge/internal/auth"
)

// File is a password file as a link of an auth.Chain.
type File struct {
	name     string
	last     bool
	pool     *auth.Pool
	throttle *auth.Throttle
	log      *slog.Logger
	key      [32]byte // of proofs

	users atomic.Pointer[users]
}

// Options are what a File is made of.
type Options struct {
	Name     string         // of the file
	Last     bool           // no other link looks at passwords: one for an unknown user costs as much as for a known one
	Pool     *auth.Pool     // where passwords are hashed
	Throttle *auth.Throttle // that holds up those with wrong ones
	Log      *slog.Logger
}

// Open reads a file.
func Open(o Options) (*File, error) {
	f := &File{name: o.Name, last: o.Last, pool: o.Pool, throttle: o.Throttle, log: o.Log, key: newKey()}
	f.users.Store(&users{})
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Reload reads the file again. Lines that it can't read it leaves out, and says so.
// If it can't read the file, what it has read before stays.
func (f *File) Reload() error {
	text, err := read(f.name)
	if err != nil {
		return fmt.Errorf("read the password file: %w", err)
	}
	next, faults := parse(text)
	for i, fault := range faults {
		if i == maxFaults {
			f.log.Warn("more lines of the password file are left out", "file", f.name, "count", len(faults)-i)
			break
		}
		f.log.Warn("a line of the password file is left out", "file", f.name, "line", fault.Line, "error", fault.Err)
	}
	next.keep(f.users.Load())
	f.users.Store(next)
	return nil
}

// maxFaults is how many lines that are left out are logged.
const maxFaults = 10

// Users is how many users the file has.
func (f *File) Users() int { return len(f.users.Load().list) }

// Check implements auth.Link. Passwords are hashed in the pool.
func (f *File) Check(r *auth.Request, done func(auth.Answer)) {
	if r.UserName == nil {
		done(auth.Answer{})
		return
	}
	e, known := f.users.Load().find(r.UserName)
	switch {
	case !known && (!f.last || e == nil):
		done(auth.Answer{})
	case r.Password == nil:
		done(auth.Wrong())
	case known && e.recalls(&f.key, r.Password):
		done(auth.Answer{Decision: auth.Allow, User: string(r.UserName)})
	case !f.pool.Do(r.Remote.Addr(), e.hash.memory(), func() { done(f.hash(r, e, known)) }):
		done(auth.Busy("too many passwords wait to be checked"))
	}
}

// hash checks a password, when its turn has come.
func (f *File) hash(r *auth.Request, e *entry, known bool) auth.Answer {
	switch {
	case f.throttle.Holds(r.UserName, r.Remote.Addr()): // others were wrong meanwhile
		return auth.TooMany()
	case known && e.recalls(&f.key, r.Password): // another one came first
	case !e.hash.matches(r.Password) || !known:
		return auth.Wrong()
	default:
		p := proofOf(&f.key, r.Password)
		e.proof.Store(&p)
	}
	return auth.Answer{Decision: auth.Allow, User: string(r.UserName)}
}
