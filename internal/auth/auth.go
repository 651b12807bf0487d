// Package auth decides who may connect. A Chain asks its links, one after the
// other, until one of them allows the connection or denies it. Each kind of link
// is a package below this one: auth/passwordfile, and so on.
//
// Nothing here blocks a shard: what takes long runs in a Pool, which bounds how
// much of it goes on and waits. Passwords that were wrong too often are not looked
// at for a while (Throttle).
//
// Files, from the bottom up: auth.go, counters.go, identifier.go, pool.go, throttle.go,
// mountpoint.go, anonymous.go, chain.go, listeners.go.
package auth

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"midge/internal/acl"
	"midge/internal/broker"
	"midge/internal/packet"
	"midge/internal/variable"
)

// Request is what a Link decides about. Its slices are copies that don't change.
type Request = broker.Request

// Link decides about connections, or leaves them to the next link of a Chain.
type Link interface {
	// Check calls done with what it thinks of r, once: before it returns, or later
	// from any goroutine. It runs on the threads of the shards, several at a time,
	// and must not block.
	//
	// A link of Chain.Methods may write into r.UserName who the client says it is: so
	// wrong tries count for the user.
	Check(r *Request, done func(Answer))
}

// WithMethod is a Link that knows clients by an Authentication Method, too.
type WithMethod interface {
	Link

	// Method returns its name, and the link for Chain.Methods.
	Method() (name string, by Link)
}

// Answer is what a Link thinks of a connection. The zero value is Next.
type Answer struct {
	Decision Decision
	Data     []byte // Authentication Data for the client, of one that is allowed or asked

	// Of one that is allowed:
	User     string           // who it is, "" for nobody in particular
	Groups   []string         // that the user is in
	ClientID string           // what counts instead of the client identifier of CONNECT; "" leaves that
	Expires  time.Time        // when the client has to connect, or to authenticate, again; zero: never
	Rules    *acl.ClientRules // about what it may do, which count before others; nil: none

	// Of one that is denied:
	Code    packet.ReasonCode
	Refusal broker.Refusal
	Reason  string // in words, for the log and the client

	// Of one that is asked: takes what the client says, which does not change, as Check
	// does. No links of Chain.Links ask.
	Then func(data []byte, done func(Answer))
}

// Decision is what a Link decides.
type Decision uint8

const (
	Next  Decision = iota // the next link shall decide
	Allow                 // the client is who it says
	Deny                  // it is not, or may not connect
	Ask                   // nothing yet: the client has to answer Answer.Data
)

// Wrong denies a connection whose user name or password is wrong. It does not
// tell which.
func Wrong() Answer {
	return Answer{
		Decision: Deny, Code: packet.BadUserNameOrPassword, Refusal: broker.WrongCredentials,
		Reason: "wrong user name or password",
	}
}

// UnknownMethod denies a connection with an Authentication Method that nobody speaks.
func UnknownMethod(method string) Answer {
	return Answer{
		Decision: Deny, Code: packet.BadAuthenticationMethod, Refusal: broker.UnknownMethod,
		Reason: fmt.Sprintf("the authentication method %.40q is not known here", method),
	}
}

// TooMany denies a connection at whose password nobody looks: see Throttle.
func TooMany() Answer {
	return Answer{
		Decision: Deny, Code: packet.ConnectionRateExceeded, Refusal: broker.TooManyAttempts,
		Reason: "too many wrong passwords for this user name from this address, or from the address; try later",
	}
}

// Busy denies a connection because nobody can look at its password now.
func Busy(reason string) Answer {
	return Answer{Decision: Deny, Code: packet.ServerBusy, Refusal: broker.NotChecked, Reason: reason}
}

// Identity is who a client is and where it came in, for whoever says what it may
// do.
type Identity struct {
	variable.Client
	Groups     []string
	MountPoint string // what all its topics begin with, and it does not see; "" for nothing
	Address    netip.Addr
	Rules      *acl.ClientRules // that came with who it is; nil: none
}

// clientOf is who a client is that a Link has let in.
func clientOf(r *Request, a *Answer) variable.Client {
	c := variable.Client{User: a.User, ID: cmp.Or(a.ClientID, r.ClientID), Listener: r.Listener}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		c.Certificate = variable.Of(r.TLS.VerifiedChains[0][0])
	}
	return c
}
