package hook

import (
	"midge/internal/auth"
	"midge/internal/broker"
	"midge/internal/packet"
)

// Link asks a Service who may connect. It is a link of an auth.Chain.
type Link struct {
	*Service
	Next bool // where the service does not answer, the next link decides
}

// Check implements auth.Link.
func (l *Link) Check(r *auth.Request, done func(auth.Answer)) {
	question := connecting(r)
	key := l.cache.of(question)
	if a, _ := l.recall(key); a != nil {
		done(a.of(r))
		return
	}
	if r.Password != nil && l.options.Throttle.Holds(r.UserName, r.Remote.Addr()) { // others were wrong meanwhile
		done(auth.TooMany())
		return
	}
	answered := func(a *answer, err error) { done(l.conclude(r, key, a, err)) }
	if err := l.ask(r.Remote.Addr(), r.Gone, question, parseConnect, answered); err != nil {
		answered(nil, err)
	}
}

// conclude turns an answer into one of the link.
func (l *Link) conclude(r *auth.Request, key digest, a *answer, err error) auth.Answer {
	switch {
	case err == nil:
		l.remember(key, a)
		return a.of(r)
	case err == errUnavailable && l.Next:
		return auth.Answer{}
	case err == errUnavailable:
		return auth.Answer{Decision: auth.Deny, Code: packet.ServerUnavailable, Refusal: broker.NotChecked, Reason: err.Error()}
	}
	return auth.Busy(err.Error())
}
