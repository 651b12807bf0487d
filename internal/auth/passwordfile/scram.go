package passwordfile

import (
	"errors"

	"midge/internal/auth"
	"midge/internal/broker"
	"midge/internal/packet"
	"midge/internal/scram"
)

// bySCRAM is the link for SCRAM-SHA-256.
type bySCRAM struct{ *File }

// Method implements auth.WithMethod: by SCRAM-SHA-256 it knows the users that have
// credentials for it.
func (f *File) Method() (name string, by auth.Link) { return scram.Method, bySCRAM{f} }

// Check implements auth.Link. The client does the hashing, so that a check costs less
// than the rest of a CONNECT, for known and for unknown users. These get a salt that is
// made up, always the same.
func (l bySCRAM) Check(r *auth.Request, done func(auth.Answer)) {
	u := l.users.Load()
	if u.iterations == 0 {
		done(auth.UnknownMethod(r.Method))
		return
	}
	first, err := scram.ParseFirst(r.Data)
	if err != nil {
		done(malformed(err))
		return
	}
	r.UserName = []byte(first.User)
	credentials, known := u.credentials(first.User, l.key[:])
	server, challenge := first.Challenge(credentials)
	done(auth.Answer{Decision: auth.Ask, Data: challenge, Then: func(answer []byte, done func(auth.Answer)) {
		final, err := server.Finish(answer)
		switch {
		case err == nil && known:
			done(auth.Answer{Decision: auth.Allow, User: first.User, Data: final})
		case err == nil || errors.Is(err, scram.ErrWrong):
			done(auth.Wrong())
		default:
			done(malformed(err))
		}
	}})
}

// credentials are those of a user. For one that has none they are made up, by the key
// of the file, or by another one for as long as the broker runs.
func (u *users) credentials(name string, other []byte) (c scram.Credentials, known bool) {
	if e := u.byName[name]; e != nil {
		if s, ok := e.hash.(*salty); ok {
			return s.Credentials, true
		}
	}
	key := u.madeUp
	if key == nil {
		key = other
	}
	return scram.MadeUp(key, name, u.iterations), false
}

// malformed denies a connection whose messages are not those of SCRAM.
func malformed(err error) auth.Answer {
	return auth.Answer{Decision: auth.Deny, Code: packet.NotAuthorized, Refusal: broker.WrongCredentials, Reason: "SCRAM: " + err.Error()}
}
