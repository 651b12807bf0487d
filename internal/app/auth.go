package app

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"

	"midge/internal/acl"
	"midge/internal/auth"
	"midge/internal/auth/certificate"
	"midge/internal/auth/jwt"
	"midge/internal/auth/passwordfile"
	"midge/internal/broker"
	"midge/internal/config"
	"midge/internal/routing"
	"midge/internal/settings"
)

// hashingShare is the part of limits.memory that hashing passwords may take.
const hashingShare = 8

// access is who may connect, and what clients may do then. It does not change: another one
// takes its place while the broker runs (see next), with those parts that outlive that.
type access struct {
	pool     *auth.Pool
	throttle *auth.Throttle
	counters *auth.Counters
	rules    map[string]*acl.Rules // of listeners, by their names

	links     map[any]auth.Link    // of all chains, by what each is made from
	lists     map[string]*acl.File // by name
	listeners auth.Listeners

	certificates bool // have the users' names somewhere
	cfg          *config.Loaded
	log          *slog.Logger
}

// What links are made from: those that are the same are one link, which stays when others
// change.
type (
	passwordsFrom struct {
		file string
		last bool
	}
	ldapFrom   struct{ settings string }
	tokensFrom struct{ keys, claims, remote string }
	hookFrom   struct{ url, forWhat, settings string }
)

// openAccess reads the files that listeners name, and makes a chain for each
// listener.
func openAccess(cfg *config.Loaded, log *slog.Logger) (*access, error) {
	first := &access{pool: auth.NewPool(1, 0, 1), throttle: auth.NewThrottle(0, 0), counters: &auth.Counters{}, rules: map[string]*acl.Rules{}}
	a, err := first.next(cfg, log)
	if err != nil {
		return nil, err
	}
	a.enforce()
	return a, nil
}

// next makes what is to take the place of a. Nothing is in force yet, and if there is an
// error nothing is left of it.
func (a *access) next(cfg *config.Loaded, log *slog.Logger) (*access, error) {
	n := &access{
		pool: a.pool, throttle: a.throttle, counters: a.counters, rules: maps.Clone(a.rules),
		links: map[any]auth.Link{}, lists: map[string]*acl.File{}, listeners: auth.Listeners{}, cfg: cfg, log: log,
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		c, err := n.chain(l, a)
		if err != nil {
			n.close(a)
			return nil, err
		}
		n.listeners[l.Name()] = c
	}
	return n, nil
}

// chain makes the chain of a listener, with the parts that it had before, as far as
// they are the same.
func (a *access) chain(l *config.Listener, before *access) (*auth.Chain, error) {
	c := &auth.Chain{Throttle: a.throttle, Methods: map[string]auth.Link{}}
	add := func(key any, open func() (auth.Link, error)) error {
		link := a.links[key]
		if link == nil {
			link = before.links[key]
		}
		if link == nil {
			var err error
			if link, err = open(); err != nil {
				return err
			}
		}
		a.links[key] = link
		c.Links = append(c.Links, link)
		if m, ok := link.(auth.WithMethod); ok {
			name, by := m.Method()
			c.Methods[name] = by
		}
		return nil
	}
	var err error
	if c.Identifiers, err = auth.ParseIdentifiers(l.Auth.ClientID); err != nil {
		return nil, fmt.Errorf("auth.client_id: %w", err)
	}
	if c.MountPoint, err = auth.ParseMountPoint(l.MountPoint); err != nil {
		return nil, fmt.Errorf("mount_point: %w", err)
	}
	if from := l.Auth.CertificateUser; from != settings.NoCertificate {
		a.certificates = true
		c.Links = append(c.Links, certificate.Link{From: certificate.Name(from)})
	}
	if l.Auth.JWTKeys != "" {
		if err := add(tokensOf(l), func() (auth.Link, error) { return openTokens(l, a) }); err != nil {
			return nil, fmt.Errorf("auth.jwt_keys: %w", err)
		}
	}
	if url := l.Hook.AuthURL; url != "" {
		open := func() (auth.Link, error) { return openHook(&l.Hook, url, a.throttle, a.counters, a.log) }
		if err := add(hookFrom{url, "auth", fmt.Sprint(l.Hook)}, open); err != nil {
			return nil, fmt.Errorf("hook.auth_url: %w", err)
		}
	}
	last := l.LDAP.URL == ""
	if name := l.Auth.PasswordFile; name != "" {
		open := func() (auth.Link, error) {
			return passwordfile.Open(passwordfile.Options{Name: name, Last: last, Pool: a.pool, Throttle: a.throttle, Log: a.log})
		}
		if err := add(passwordsFrom{name, last}, open); err != nil {
			return nil, fmt.Errorf("auth.password_file: %w", err)
		}
	}
	if set := &l.LDAP; set.URL != "" {
		if err := add(ldapFrom{fmt.Sprintf("%#v", *set)}, func() (auth.Link, error) { return openLDAP(set, a) }); err != nil {
			return nil, fmt.Errorf("auth.ldap: %w", err)
		}
	}
	if l.LetsAnybodyIn() {
		c.Links = append(c.Links, auth.Anonymous{Named: !l.Asks()})
	}
	return c, a.restrict(c, l, before)
}

// tokensOf is what the link for tokens of a listener is made from.
func tokensOf(l *config.Listener) tokensFrom {
	from := tokensFrom{keys: l.Auth.JWTKeys, claims: fmt.Sprintf("%q", []string{l.Auth.JWTUser, l.Auth.JWTGroups, l.Auth.JWTRules})}
	if settings.IsURL(from.keys) {
		from.remote = fmt.Sprint(l.Auth.JWTRefresh, l.Auth.JWTCA, l.Hook.Proxy)
	}
	return from
}

func openTokens(l *config.Listener, a *access) (auth.Link, error) {
	o := jwt.Options{
		Keys: l.Auth.JWTKeys, User: l.Auth.JWTUser, Groups: l.Auth.JWTGroups, Rules: l.Auth.JWTRules,
		Refresh: l.Auth.JWTRefresh, Log: a.log, Counters: a.counters,
	}
	if settings.IsURL(o.Keys) {
		var err error
		if o.Fetch, err = fetchKeys(&l.Settings); err != nil {
			return nil, err
		}
	}
	return jwt.Open(o)
}

// asked is a service that is asked what clients may do.
type asked interface {
	auth.Link
	For(who *auth.Identity) routing.Asking
}

// openAsked is the service that is asked what the clients of a listener may do, nil if there is none.
func (a *access) openAsked(l *config.Listener, before *access) (asked, error) {
	if l.Hook.ACLURL == "" {
		return nil, nil
	}
	key := hookFrom{l.Hook.ACLURL, "acl", fmt.Sprint(l.Hook)}
	if a.links[key] == nil {
		a.links[key] = before.links[key]
	}
	if a.links[key] == nil {
		link, err := openHook(&l.Hook, l.Hook.ACLURL, a.throttle, a.counters, a.log)
		if err != nil {
			return nil, fmt.Errorf("hook.acl_url: %w", err)
		}
		a.links[key] = link
	}
	return a.links[key].(asked), nil
}

// restrict has a chain's clients do what rules that come with them, the listener's access list,
// and whoever is asked allow.
func (a *access) restrict(c *auth.Chain, l *config.Listener, before *access) error {
	ask, err := a.openAsked(l, before)
	if err != nil {
		return err
	}
	rules, err := a.rulesFor(l, before)
	if err != nil {
		return err
	}
	c.Permissions = func(who auth.Identity) broker.Permissions {
		from := acl.Sources{Own: who.Rules, Listener: rules}
		if ask != nil {
			from.Ask = ask.For(&who)
		}
		if from == (acl.Sources{}) {
			return nil
		}
		return from.For(who.Client, who.Groups, who.MountPoint)
	}
	return nil
}

// rulesFor are the rules of a listener's access list, nil without one.
func (a *access) rulesFor(l *config.Listener, before *access) (*acl.Rules, error) {
	name := l.ACL.File
	if name == "" {
		return nil, nil
	}
	if a.lists[name] == nil {
		a.lists[name] = before.lists[name]
	}
	if a.lists[name] == nil {
		f, err := acl.Open(name, a.log)
		if err != nil {
			return nil, fmt.Errorf("acl.file: %w", err)
		}
		a.lists[name] = f
	}
	rules := a.rules[l.Name()]
	if rules == nil {
		rules = &acl.Rules{}
		a.rules[l.Name()] = rules
	}
	return rules, nil
}

// enforce has the parts that outlive changes go by the settings of a.
func (a *access) enforce() {
	set := &a.cfg.Auth
	a.pool.Resize(cmp.Or(set.Threads, max(1, runtime.NumCPU()/2)), hashingMemory(a.cfg.Limits.Memory), set.Queue)
	a.throttle.Change(set.Attempts, set.AttemptsInterval)
	for i := range a.cfg.Listeners {
		l := &a.cfg.Listeners[i]
		if rules := a.rules[l.Name()]; rules != nil {
			rules.Use(a.lists[l.ACL.File]) // nil without a list
		}
	}
}

// close ends the links that the other access does not have. What they were asked may still
// be under way.
func (a *access) close(other *access) {
	for key, link := range a.links {
		if c, ok := link.(io.Closer); ok && other.links[key] == nil {
			if err := c.Close(); err != nil {
				a.log.Warn("a part of authentication was not closed in order", "error", err)
			}
		}
	}
}

// reload reads the files again that say who may connect and what clients may do. A
// file with something wrong stays as it was.
func (a *access) reload() (faults []error) {
	read := func(f interface{ Reload() error }) {
		if err := f.Reload(); err != nil {
			faults = append(faults, err)
		}
	}
	for _, link := range a.links {
		if f, ok := link.(interface{ Reload() error }); ok {
			read(f)
		}
	}
	for _, f := range a.files() {
		read(f)
	}
	return faults
}

// keep forgets the rules of listeners that are not among these.
func (a *access) keep(listeners []*listener) {
	maps.DeleteFunc(a.rules, func(name string, _ *acl.Rules) bool {
		return !slices.ContainsFunc(listeners, func(l *listener) bool { return l.Name() == name })
	})
}

// files are all access lists that clients go by: of listeners that are gone, too.
func (a *access) files() map[*acl.File]*acl.File {
	all := map[*acl.File]*acl.File{}
	for _, f := range a.lists {
		all[f] = f
	}
	for _, r := range a.rules {
		if f := r.File(); f != nil {
			all[f] = f
		}
	}
	return all
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
		if len(a.lists) > 0 || a.hooks() > 0 || c.MountPoint.Set() || len(c.Links) != 1 || c.Links[0] != auth.Link(auth.Anonymous{Named: true}) {
			return a.listeners
		}
	}
	return nil
}

// describe says for the banner how clients are let in.
func (a *access) describe() string {
	users, rules := 0, 0
	passwords, tokens, directory := false, false, false
	for key, link := range a.links {
		if _, ok := key.(ldapFrom); ok {
			directory = true
		}
		switch l := link.(type) {
		case *passwordfile.File:
			passwords = true
			users += l.Users()
		case *jwt.Link:
			tokens = true
		}
	}
	hooks := a.hooks()
	for _, f := range a.lists {
		rules += f.Rules()
	}
	var said []string
	if a.certificates {
		said = append(said, "known by their certificates")
	}
	if tokens {
		said = append(said, "known by their tokens")
	}
	if passwords {
		said = append(said, fmt.Sprintf("%s users with passwords", grouped(uint64(users))))
	}
	if hooks > 0 {
		said = append(said, "an HTTP service is asked")
	}
	if directory {
		said = append(said, "passwords looked at by LDAP")
	}
	if said == nil {
		said = append(said, "nobody is asked for a password")
	}
	if len(a.lists) > 0 {
		said = append(said, fmt.Sprintf("%s rules say what they may do", grouped(uint64(rules))))
	} else if hooks == 0 && !tokens {
		said = append(said, "all may do everything")
	}
	return strings.Join(said, "; ")
}

// hooks is how many services are asked.
func (a *access) hooks() (n int) {
	for key := range a.links {
		if _, is := key.(hookFrom); is {
			n++
		}
	}
	return n
}

// ReloadAccess reads password files, keys of tokens and access lists again. What is wrong with one
// is in the error, and that file stays as it was. It may be called from any goroutine.
func (b *Broker) ReloadAccess() error {
	b.reloads.mu.Lock()
	defer b.reloads.mu.Unlock()
	faults := b.access.reload()
	b.reloads.brokenAccess.Add(uint64(len(faults)))
	if len(b.access.files()) > 0 && b.started.Load() {
		b.core.PermissionsChanged()
	}
	return errors.Join(faults...)
}

// followAccess puts what is to take the place of the access in force, between turns. When it
// returns all shards go by it.
func (b *Broker) followAccess(next *access) {
	before := b.access
	b.access = next
	next.enforce()
	b.core.PermissionsChanged()
	applied := make(chan struct{})
	b.core.Authenticate(next.authenticator(), func() { close(applied) })
	<-applied
	before.close(next)
}
