package jwt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"midge/internal/acl"
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
	options Options
	remote  *remote // nil: the keys are in a file
	keys    atomic.Pointer[[]key]
}

// Options are what a Link goes by.
type Options struct {
	Keys string // a file, or a URL if there is Fetch

	// Claims of tokens: the user's name, and groups and rules; "" for none of these.
	User, Groups, Rules string

	Fetch   func(context.Context) ([]byte, error) // gets the keys from the URL; nil: they are in a file
	Refresh time.Duration                         // how often
	Log     *slog.Logger

	Counters *auth.Counters // nil without Fetch
}

// Open reads a file of keys, or begins to fetch them.
func Open(o Options) (*Link, error) {
	l := &Link{options: o}
	l.keys.Store(&[]key{})
	if o.Fetch != nil {
		l.remote = newRemote(l)
		return l, nil
	}
	return l, l.Reload()
}

// Close implements io.Closer.
func (l *Link) Close() error {
	if l.remote != nil {
		l.remote.close()
	}
	return nil
}

// Reload reads the keys again. If something is wrong with the file, those from
// before stay. Those that are fetched come later.
func (l *Link) Reload() error {
	if l.remote != nil {
		l.remote.now()
		return nil
	}
	file := l.options.Keys
	text, err := os.ReadFile(file)
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has %d bytes, and %d is the most", file, len(text), maxFile)
	}
	if err != nil {
		return fmt.Errorf("read the keys of tokens: %w", err)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return fmt.Errorf("keys of tokens, %s: %w", file, err)
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
	l.decide(r, done)
}

// decide looks at a token, now or when the key for it was fetched.
func (l *Link) decide(r *auth.Request, done func(auth.Answer)) {
	a, missing := l.check(r)
	if missing && l.remote != nil && l.remote.wait(func() {
		a, _ := l.check(r)
		done(a)
	}) {
		return
	}
	done(a)
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
	l.decide(&token, done)
}

// check looks at a token. missing reports that there is no key for it.
func (l *Link) check(r *auth.Request) (a auth.Answer, missing bool) {
	wrong := func(reason string) auth.Answer {
		return auth.Answer{Decision: auth.Deny, Code: packet.BadUserNameOrPassword, Refusal: broker.WrongCredentials, Reason: reason}
	}
	if len(r.Password) > maxToken {
		return wrong("the token is too long"), false
	}
	keys := *l.keys.Load()
	if len(keys) == 0 {
		return auth.Busy("the keys of tokens have not been fetched yet"), true
	}
	var methods []string
	for _, k := range keys {
		methods = append(methods, k.methods...)
	}
	all := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithValidMethods(methods), jwt.WithExpirationRequired())
	_, err := parser.ParseWithClaims(string(r.Password), all, func(t *jwt.Token) (any, error) { return candidates(keys, t) })
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return wrong("the token has expired"), false
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return wrong("the token is not valid yet"), false
	case err != nil:
		return wrong("the token is not valid"), errors.Is(err, errNoKey)
	}
	return l.identify(r, all, wrong), false
}

// errNoKey is wrong with a token that nobody here has a key for.
var errNoKey = errors.New("there is no such key")

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
		return set, errNoKey
	}
	return set, nil
}

// identify says who a token is for.
func (l *Link) identify(r *auth.Request, all jwt.MapClaims, wrong func(string) auth.Answer) auth.Answer {
	a := auth.Answer{Decision: auth.Allow}
	a.User, _ = all[l.options.User].(string)
	if a.User == "" {
		return wrong("the token has no user: auth.jwt_user")
	}
	if id, bound := all["client_id"]; bound && id != r.ClientID {
		return auth.Answer{
			Decision: auth.Deny, Code: packet.ClientIdentifierNotValid, Refusal: broker.ForeignIdentifier,
			Reason: "the token is for another client identifier",
		}
	}
	var err error
	if l.options.Groups != "" {
		if a.Groups, err = texts(all[l.options.Groups]); err != nil {
			return wrong("the token's groups: " + err.Error())
		}
	}
	if l.options.Rules != "" && all[l.options.Rules] != nil { // an empty list allows nothing
		rules, err := texts(all[l.options.Rules])
		if err == nil {
			a.Rules, err = acl.ParseClientRules(rules)
		}
		if err != nil {
			return wrong("the token's rules: " + strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	if end, err := all.GetExpirationTime(); err == nil && end != nil {
		a.Expires = end.Time
	}
	return a
}

// texts reads a list of texts, or one that stands alone.
func texts(claim any) (all []string, err error) {
	switch c := claim.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{c}, nil
	case []any:
		for i, x := range c {
			text, ok := x.(string)
			if !ok {
				return nil, fmt.Errorf("number %d is no text", i+1)
			}
			all = append(all, text)
		}
		return all, nil
	}
	return nil, errors.New("they are not a list of texts")
}
