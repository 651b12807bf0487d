package auth

import (
	"slices"

	"midge/internal/broker"
	"midge/internal/packet"
)

// Chain asks its links in turn. It is a broker.Authenticator. Its fields don't
// change once it is in use.
type Chain struct {
	Links       []Link
	Methods     map[string]Link // by Authentication Method; a client that names one has chosen
	Throttle    *Throttle       // nil: none
	Identifiers Identifiers     // the client identifiers that users may have
	MountPoint  MountPoint

	// Permissions says what a client may do; nil: everything.
	Permissions func(Identity) broker.Permissions
}

// Connect implements broker.Authenticator. A connection that all links leave to
// the next one is denied.
func (c *Chain) Connect(r broker.Request, done func(broker.Verdict)) {
	r.UserName, r.Password, r.Data = slices.Clone(r.UserName), slices.Clone(r.Password), slices.Clone(r.Data)
	tries := r.Password != nil || r.Method != ""
	switch {
	case tries && c.holds(&r):
		c.conclude(&r, TooMany(), done)
	case r.Method == "":
		c.ask(0, &r, done)
	case c.Methods[r.Method] == nil:
		c.conclude(&r, UnknownMethod(r.Method), done)
	default:
		c.Methods[r.Method].Check(&r, func(a Answer) { c.conclude(&r, a, done) })
	}
}

func (c *Chain) holds(r *Request) bool { return c.Throttle.Holds(r.UserName, r.Remote.Addr()) }

// ask asks the links from number at on.
func (c *Chain) ask(at int, r *Request, done func(broker.Verdict)) {
	if at == len(c.Links) {
		c.conclude(r, c.last(r), done)
		return
	}
	c.Links[at].Check(r, func(a Answer) {
		if a.Decision == Next {
			c.ask(at+1, r, done)
			return
		}
		c.conclude(r, a, done)
	})
}

// last is the answer if no link has one.
func (c *Chain) last(r *Request) Answer {
	if r.UserName == nil && r.Password == nil {
		return Answer{Decision: Deny, Code: packet.NotAuthorized, Refusal: broker.NoCredentials, Reason: "a user name and a password are asked for"}
	}
	return Wrong()
}

// conclude turns the answer of a link into a verdict.
func (c *Chain) conclude(r *Request, a Answer, done func(broker.Verdict)) {
	switch a.Decision {
	case Next: // of a method, which has no next link
		c.conclude(r, Wrong(), done)
		return
	case Deny:
		if a.Refusal == broker.WrongCredentials && (r.Password != nil || r.Method != "") {
			c.Throttle.Failed(r.UserName, r.Remote.Addr())
		}
		v := broker.Verdict{Code: a.Code, Refusal: a.Refusal, Reason: a.Reason}
		if r.Method != "" {
			v.Principal = string(r.UserName)
		}
		done(v)
		return
	case Ask:
		c.challenge(r, a, done)
		return
	}
	who := Identity{Client: clientOf(r, &a), Groups: a.Groups, Address: r.Remote.Addr(), Rules: a.Rules}
	if a.ClientID == "" && !r.Assigned && !c.Identifiers.Allow(&who.Client) {
		done(broker.Verdict{
			Code: packet.ClientIdentifierNotValid, Refusal: broker.ForeignIdentifier,
			Reason: "the client identifier is not one of this user: auth.client_id",
		})
		return
	}
	var err error
	if who.MountPoint, err = c.MountPoint.Of(&who.Client); err != nil {
		done(broker.Verdict{Code: packet.NotAuthorized, Reason: "mount_point: " + err.Error()})
		return
	}
	v := broker.Verdict{Principal: a.User, ClientID: a.ClientID, MountPoint: who.MountPoint, Expires: a.Expires, Data: a.Data}
	if c.Permissions != nil {
		v.Permissions = c.Permissions(who)
	}
	done(v)
}

// challenge has the client answer what a link asks. Nobody looks at an answer after too
// many wrong ones for the user, also if they have come meanwhile.
func (c *Chain) challenge(r *Request, a Answer, done func(broker.Verdict)) {
	if c.holds(r) {
		c.conclude(r, TooMany(), done)
		return
	}
	done(broker.Verdict{Data: a.Data, Next: func(data []byte, done func(broker.Verdict)) {
		if c.holds(r) {
			c.conclude(r, TooMany(), done)
			return
		}
		a.Then(slices.Clone(data), func(a Answer) { c.conclude(r, a, done) })
	}})
}
