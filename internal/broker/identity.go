package broker

import (
	"sync/atomic"
	"time"

	"midge/internal/engine"
	"midge/internal/packet"
	"midge/internal/routing"
)

// Authenticator decides who may connect, and what they may do then.
type Authenticator interface {
	// Connect decides about a connection, and calls done with its verdict: before it
	// returns, or later from any goroutine. The client waits meanwhile, for
	// Limits.ConnectTimeout at most. Only the first call counts, and none after
	// the client has gone.
	//
	// Connect runs on the threads of the shards, several at a time, and must not
	// block: all clients of the shard wait for it. The slices of r are borrowed
	// until it returns.
	//
	// A client that has named an Authentication Method may be asked something
	// before it is decided: see Verdict.Next. Once it is connected it may say again
	// who it is, at any time: see Request.Again.
	Connect(r Request, done func(Verdict))
}

// Request is what an Authenticator decides about.
type Request struct {
	engine.Peer
	ClientID string // that CONNECT asks for, or one of ours if it leaves that to us:
	Assigned bool
	UserName []byte // nil if there is none
	Password []byte // nil if there is none
	Version  packet.Version
	Gone     *atomic.Bool // true as soon as nobody waits for a verdict any more; nil: somebody does

	// Of an enhanced authentication (MQTT 5.0 section 4.12):
	Method string // Authentication Method; "" for none
	Data   []byte // Authentication Data; nil if there is none
	Again  bool   // the client is connected: it authenticates again, without user name and password
}

// Verdict is what an Authenticator decides.
type Verdict struct {
	Code        packet.ReasonCode // Success, or why the connection is refused:
	Refusal     Refusal           // what it counts as, and
	Reason      string            // in words, for the log and the client; "" for no more than that access was denied
	Principal   string            // who the client is, or with a method has said it is, for the log; "" if that is nobody in particular
	Permissions Permissions       // nil: the client may do everything
	ClientID    string            // what counts instead of Request.ClientID; "" leaves that
	MountPoint  string            // what all its topics begin with, for which it needs a / at its end; "" for nothing. Its listener has Mounts; see store.MountedID
	Expires     time.Time         // when the client has to connect, or to authenticate, again; zero: never

	// Data is Authentication Data for the client, nil for none. Next, if there is one,
	// means that nothing is decided: the client gets Data in AUTH, and Next its
	// answer. All that is said of Authenticator.Connect holds for Next, too. Both are
	// for clients with an Authentication Method only.
	Data []byte
	Next func(data []byte, done func(Verdict))
}

// Refusal is what the refusal of a connection is counted as.
type Refusal uint8

const (
	NoRight           Refusal = iota // nothing of the following
	WrongCredentials                 // nobody knows such a user with such a password, or the like
	NoCredentials                    // there were none, and they are asked for
	TooManyAttempts                  // with wrong ones, so that nobody looked at these
	NotChecked                       // nobody could look at them: there were too many at a time, or what is asked did not answer
	ForeignIdentifier                // the client identifier is for somebody else
	UnknownMethod                    // nobody speaks the Authentication Method
)

// of is the counter of a refusal.
func (r Refusal) of(c *Counters) *uint64 {
	switch r {
	case WrongCredentials:
		return &c.RefusedCredentials
	case NoCredentials:
		return &c.RefusedAnonymous
	case TooManyAttempts:
		return &c.RefusedAttempts
	case NotChecked:
		return &c.RefusedNotChecked
	case ForeignIdentifier:
		return &c.RefusedIdentifier
	case UnknownMethod:
		return &c.RefusedMethod
	}
	return &c.RefusedAccess
}

// Permissions are what a client may do.
type Permissions = routing.Permissions

func (v *Verdict) identity() *routing.Identity {
	if v.Principal == "" && v.Permissions == nil {
		return nil
	}
	asking, _ := v.Permissions.(routing.Asking)
	return &routing.Identity{Principal: v.Principal, Permissions: v.Permissions, Asking: asking, Mount: len(v.MountPoint)}
}

// Authenticate has another Authenticator decide, nil: everybody may do everything. Each
// shard asks it from its next turn on. Then applied is called, once: no shard asks the
// one before any more, which may still answer what it was asked. Those that are connected
// stay as they are, with their Permissions. Call it after Start; applied must not block.
func (b *Broker) Authenticate(a Authenticator, applied func()) {
	left := new(atomic.Int32)
	left.Store(int32(len(b.shards)))
	for i, s := range b.shards {
		b.runner.Post(i, func() {
			s.authenticator = a
			if a != nil {
				s.routes.Restrict()
			}
			if left.Add(-1) == 0 {
				applied()
			}
		})
	}
}

// PermissionsChanged is called when Permissions answer otherwise from now on. Each
// shard asks again from its next turn on. Subscriptions stay, but what their
// clients may not receive any more does not get to them.
func (b *Broker) PermissionsChanged() {
	for i, s := range b.shards {
		b.runner.Post(i, s.routes.Clear)
	}
}

// question is what an Authenticator was asked. Its answer may come while it is
// asked, from the same thread or another one.
type question struct {
	answered atomic.Bool   // somebody has called done
	state    atomic.Uint32 // see below
	verdict  Verdict
	gone     atomic.Bool // the client
}

const (
	asking     uint32 = iota // Connect, or Next, has not returned
	unanswered               // it has, without an answer
	decided                  // the verdict is there
)

// ask asks the Authenticator. It reports false if the answer comes later, on the
// thread of the shard, by then.
func (q *question) ask(s *shard, about func(gone *atomic.Bool, done func(Verdict)), then func()) (now bool) {
	about(&q.gone, func(v Verdict) {
		if q.answered.Swap(true) {
			return
		}
		q.verdict = v
		if q.state.Swap(decided) == unanswered {
			s.b.runner.Post(s.index, then)
		}
	})
	return !q.state.CompareAndSwap(asking, unanswered)
}
