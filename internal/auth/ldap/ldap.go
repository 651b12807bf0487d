// Package ldap has an LDAP server look at passwords: whoever can bind there with his
// name and password is let in.
//
// Where a user stands is a template for his DN, or is searched for with an account that
// may. What clients say never gets into a DN or a filter unescaped, and an empty password,
// with which a bind succeeds for everybody, never gets to the server.
//
// Files, from the bottom up: where.go, conn.go, cache.go, ldap.go.
package ldap

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"midge/internal/auth"
	"midge/internal/packet"
)

// maxName is how long the name of a user may be, in bytes. Directories have shorter ones.
const maxName = 256

// maxIdle is how long a connection is kept that nobody uses. Servers close them after some
// minutes.
const maxIdle = time.Minute

// Options are what a Link is made of.
type Options struct {
	URL      string   // ldap:// or ldaps://host[:port]
	StartTLS bool     // on ldap://
	CA       []string // PEM files; none: what the system trusts

	Where

	GroupAttribute string // of the user's entry, "" for no groups
	UserAttribute  string // that has the user's name, "" for the one that the client gives
	Last           bool   // no other link looks at passwords

	Timeout     time.Duration // of a check, with the time that it waits for its turn
	Connections int           // at a time
	Queue       int           // of checks that wait for one
	CacheTime   time.Duration // for which a password that was right is not asked about again; 0: it is

	Throttle *auth.Throttle
	Log      *slog.Logger
}

// Link asks an LDAP server. It is a link of an auth.Chain.
type Link struct {
	o     Options
	pool  *auth.Pool
	conns conns
	cache cache
	down  atomic.Bool // the server did not answer last
}

// Open reads the files that options name. It does not connect.
func Open(o Options) (*Link, error) {
	if err := o.Where.check(o.GroupAttribute != "" || o.UserAttribute != ""); err != nil {
		return nil, err
	}
	l := &Link{o: o, pool: auth.NewPool(o.Connections, 1, o.Queue)}
	if err := l.conns.init(&l.o); err != nil {
		return nil, err
	}
	l.cache.init(o.CacheTime)
	return l, l.Reload()
}

// Reload reads the files again, and forgets what was remembered. If something is wrong with
// one, what was read before stays.
func (l *Link) Reload() error {
	if err := l.conns.reload(); err != nil {
		return err
	}
	l.cache.clear()
	return nil
}

// Close ends the connections that nobody uses.
func (l *Link) Close() error {
	l.conns.close()
	return nil
}

// Check implements auth.Link. The server is asked in the pool.
func (l *Link) Check(r *auth.Request, done func(auth.Answer)) {
	if r.UserName == nil {
		done(auth.Answer{})
		return
	}
	name := string(r.UserName)
	if len(r.Password) == 0 || name == "" || len(name) > maxName {
		done(l.wrong())
		return
	}
	if u, ok := l.cache.get(name, r.Password); ok {
		done(u.allow())
		return
	}
	end := time.Now().Add(l.o.Timeout)
	if !l.pool.Do(r.Remote.Addr(), 0, func() { done(l.ask(r, name, end)) }) {
		done(auth.Busy("too many passwords wait to be checked"))
	}
}

// wrong leaves the client to the next link, if there is one.
func (l *Link) wrong() auth.Answer {
	if l.o.Last {
		return auth.Wrong()
	}
	return auth.Answer{}
}

// ask asks the server, when its turn has come.
func (l *Link) ask(r *auth.Request, name string, end time.Time) auth.Answer {
	switch {
	case r.Gone != nil && r.Gone.Load():
		return auth.Busy("the client has gone")
	case l.o.Throttle.Holds(r.UserName, r.Remote.Addr()): // others were wrong meanwhile
		return auth.TooMany()
	case !time.Now().Before(end):
		return auth.Busy("the LDAP server has not answered in time")
	}
	u, err := l.user(name, r.Password, end)
	switch {
	case errors.Is(err, errWrong):
		l.answered(nil)
		return l.wrong()
	case errors.Is(err, errEntry):
		l.answered(nil)
		return auth.Answer{Decision: auth.Deny, Code: packet.NotAuthorized, Reason: err.Error()}
	case err != nil:
		l.answered(err)
		return auth.Busy("the LDAP server could not be asked")
	}
	l.answered(nil)
	l.cache.put(name, r.Password, u)
	return u.allow()
}

// answered writes when the server begins to fail, and when that ends.
func (l *Link) answered(err error) {
	if down := err != nil; l.down.Swap(down) == down {
		return
	}
	if err != nil {
		l.o.Log.Error("the LDAP server can't be asked; passwords are refused", "server", l.o.URL, "error", err)
	} else {
		l.o.Log.Info("the LDAP server answers again", "server", l.o.URL)
	}
}

// user asks the server for a user. The error is errWrong if it does not know the user, or
// not with this password. A connection that was kept may have been closed by the server, so
// that a new one is tried.
func (l *Link) user(name string, password []byte, end time.Time) (user, error) {
	for {
		c, fresh, err := l.conns.take(end)
		if err != nil {
			return user{}, err
		}
		u, err := c.check(&l.o, name, string(password))
		if err == nil || errors.Is(err, errWrong) || errors.Is(err, errEntry) {
			l.conns.keep(c)
			return u, err
		}
		c.close()
		if fresh {
			return user{}, err
		}
	}
}

// user is what the server says of one.
type user struct {
	name   string
	groups []string
}

func (u user) allow() auth.Answer {
	return auth.Answer{Decision: auth.Allow, User: u.name, Groups: u.groups}
}
