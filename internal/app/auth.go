package app

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strings"

	"midge/internal/acl"
	"midge/internal/auth"
	"midge/internal/auth/certificate"
	"midge/internal/auth/jwt"
	"midge/internal/auth/passwordfile"
	"midge/internal/broker"
	"midge/internal/config"
	"midge/internal/settings"
)

// hashingShare is the part of limits.memory that hashing passwords may take.
const hashingShare = 8

// access is who may connect, and what clients may do then: the files that say so.
type access struct {
	passwords map[string]*passwordfile.File // by name
	lists     map[string]*acl.File          // by name
	tokens    []*jwt.Link
	listeners auth.Listeners

	certificates bool // have the users' names somewhere
}

// openAccess reads the files that listeners name, and makes a chain for each
// listener.
func openAccess(cfg *config.Loaded, log *slog.Logger) (*access, error) {
	a := &access{passwords: map[string]*passwordfile.File{}, lists: map[string]*acl.File{}, listeners: auth.Listeners{}}
	set := &cfg.Auth
	pool := auth.NewPool(cmp.Or(set.Threads, max(1, runtime.NumCPU()/2)), hashingMemory(cfg.Limits.Memory), set.Queue)
	throttle := auth.NewThrottle(set.Attempts, set.AttemptsInterval)
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		c := &auth.Chain{Throttle: throttle}
		var err error
		if c.Identifiers, err = auth.ParseIdentifiers(l.Auth.ClientID); err != nil {
			return nil, fmt.Errorf("auth.client_id: %w", err)
		}
		if from := l.Auth.CertificateUser; from != settings.NoCertificate {
			a.certificates = true
			c.Links = append(c.Links, certificate.Link{From: certificate.Name(from)})
		}
		if name := l.Auth.JWTKeys; name != "" {
			tokens, err := jwt.Open(name, l.Auth.JWTUser)
			if err != nil {
				return nil, fmt.Errorf("auth.jwt_keys: %w", err)
			}
			a.tokens = append(a.tokens, tokens)
			c.Links = append(c.Links, tokens)
		}
		if name := l.Auth.PasswordFile; name != "" {
			f := a.passwords[name]
			if f == nil {
				if f, err = passwordfile.Open(passwordfile.Options{Name: name, Last: true, Pool: pool, Throttle: throttle, Log: log}); err != nil {
					return nil, fmt.Errorf("auth.password_file: %w", err)
				}
				a.passwords[name] = f
			}
			c.Links = append(c.Links, f)
		}
		if l.LetsAnybodyIn() {
			c.Links = append(c.Links, auth.Anonymous{Named: !l.Asks()})
		}
		if name := l.ACL.File; name != "" {
			f := a.lists[name]
			if f == nil {
				if f, err = acl.Open(name, log); err != nil {
					return nil, fmt.Errorf("acl.file: %w", err)
				}
				a.lists[name] = f
			}
			c.Permissions = func(who auth.Identity) broker.Permissions {
				return f.For(who.User, who.ClientID, who.Listener, who.Groups)
			}
		}
		a.listeners[l.Name()] = c
	}
	return a, nil
}

// hashingMemory is how much memory hashing passwords may take.
func hashingMemory(setting settings.Size) int64 {
	if budget := budgetOf(setting); budget > 0 {
		return budget / hashingShare
	}
	return math.MaxInt64
}

// authenticator is nil if everybody may do everything: then nothing is asked for.
func (a *access) authenticator() broker.Authenticator {
	for _, c := range a.listeners {
		if len(a.lists) > 0 || len(c.Links) != 1 || c.Links[0] != auth.Link(auth.Anonymous{Named: true}) {
			return a.listeners
		}
	}
	return nil
}

// describe says for the banner how clients are let in.
func (a *access) describe() string {
	users, rules := 0, 0
	for _, f := range a.passwords {
		users += f.Users()
	}
	for _, f := range a.lists {
		rules += f.Rules()
	}
	var said []string
	if a.certificates {
		said = append(said, "known by their certificates")
	}
	if len(a.tokens) > 0 {
		said = append(said, "known by their tokens")
	}
	if len(a.passwords) > 0 {
		said = append(said, fmt.Sprintf("%s users with passwords", grouped(uint64(users))))
	}
	if said == nil {
		said = append(said, "nobody is asked for a password")
	}
	if len(a.lists) > 0 {
		said = append(said, fmt.Sprintf("%s rules say what they may do", grouped(uint64(rules))))
	} else {
		said = append(said, "all may do everything")
	}
	return strings.Join(said, "; ")
}

// ReloadAccess reads password files, keys of tokens and access lists again. What is wrong with one
// is in the error, and that file stays as it was. It may be called from any goroutine.
func (b *Broker) ReloadAccess() error {
	var faults []error
	for _, f := range b.access.passwords {
		faults = append(faults, f.Reload())
	}
	for _, l := range b.access.tokens {
		faults = append(faults, l.Reload())
	}
	for _, f := range b.access.lists {
		faults = append(faults, f.Reload())
	}
	if len(b.access.lists) > 0 && b.started.Load() {
		b.core.PermissionsChanged()
	}
	return errors.Join(faults...)
}
