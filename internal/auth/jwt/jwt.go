package jwt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"

	"github.com/golang-jwt/jwt/v5"

	"midge/internal/auth"
	"midge/internal/broker"
	"midge/internal/packet"
)

const (
	maxToken = 16 << 10 // bytes of a token. Guess: a certificate chain in its header fits
	maxFile  = 1 << 20  // bytes of a file of keys
)

// Link takes tokens as passwords, and leaves other passwords to the next link. It
// is a link of an auth.Chain.
type Link struct {
	file string
	user string
	keys atomic.Pointer[[]key]
}

// Open reads a file of keys. user is the claim that has the user's name.
func Open(file, user string) (*Link, error) {
	l := &Link{file: file, user: user}
	return l, l.Reload()
}

// Reload reads the keys again. If something is wrong with the file, those from
// before stay.
func (l *Link) Reload() error {
	text, err := os.ReadFile(l.file)
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has %d bytes, and %d is the most", l.file, len(text), maxFile)
	}
	if err != nil {
		return fmt.Errorf("read the keys of tokens: %w", err)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return fmt.Errorf("keys of tokens, %s: %w", l.file, err)
	}
	l.keys.Store(&keys)
	return nil
}

// Check implements auth.Link. A signature costs less than the rest of a CONNECT.
func (l *Link) Check(r *auth.Request, done func(auth.Answer)) {
	if bytes.Count(r.Password, []byte(".")) != 2 || !bytes.HasPrefix(r.Password, []byte("eyJ")) { // {" in base64
		done(auth.Answer{})
		return
	}
	done(l.check(r))
}

// method is the Authentication Method by which clients give their token as
// Authentication Data, and a new one while they are connected. Others call it so, too.
const method = "OAUTH2-JWT"

// byAuth is the link for that.
type byAuth struct{ *Link }

// Method implements auth.WithMethod.
func (l *Link) Method() (name string, by auth.Link) { return method, byAuth{l} }

// Check implements auth.Link.
func (l byAuth) Check(r *auth.Request, done func(auth.Answer)) {
	token := *r
	token.Password = r.Data
	done(l.check(&token))
}

func (l *Link) check(r *auth.Request) auth.Answer {
	wrong := func(reason string) auth.Answer {
		return auth.Answer{Decision: auth.Deny, Code: packet.BadUserNameOrPassword, Refusal: broker.WrongCredentials, Reason: reason}
	}
	if len(r.Password) > maxToken {
		return wrong("the token is too long")
	}
	keys := *l.keys.Load()
	var methods []string
	for _, k := range keys {
		methods = append(methods, k.methods...)
	}
	all := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithValidMethods(methods), jwt.WithExpirationRequired())
	_, err := parser.ParseWithClaims(string(r.Password), all, func(t *jwt.Token) (any, error) { return candidates(keys, t) })
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return wrong("the token has expired")
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return wrong("the token is not valid yet")
	case err != nil:
		return wrong("the token is not valid")
	}
	return l.identify(r, all, wrong)
}

// candidates are the keys that may have signed a token: those of its method and, if
// it names one, of its name.
func candidates(keys []key, t *jwt.Token) (set jwt.VerificationKeySet, err error) {
	id, _ := t.Header["kid"].(string)
	for _, k := range keys {
		if slices.Contains(k.methods, t.Method.Alg()) && (id == "" || k.id == "" || k.id == id) {
			set.Keys = append(set.Keys, k.value)
		}
	}
	if len(set.Keys) == 0 {
		return set, errors.New("there is no such key")
	}
	return set, nil
}

// identify says who a token is for.
func (l *Link) identify(r *auth.Request, all jwt.MapClaims, wrong func(string) auth.Answer) auth.Answer {
	a := auth.Answer{Decision: auth.Allow}
	a.User, _ = all[l.user].(string)
	if a.User == "" {
		return wrong("the token has no user: auth.jwt_user")
	}
	if id, bound := all["client_id"]; bound && id != r.ClientID {
		return auth.Answer{
			Decision: auth.Deny, Code: packet.ClientIdentifierNotValid, Refusal: broker.ForeignIdentifier,
			Reason: "the token is for another client identifier",
		}
	}
	groups, _ := all["groups"].([]any)
	for _, g := range groups {
		if name, ok := g.(string); ok {
			a.Groups = append(a.Groups, name)
		}
	}
	if end, err := all.GetExpirationTime(); err == nil && end != nil {
		a.Expires = end.Time
	}
	return a
}
