package ldap

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// errWrong is the error for a user that is not there, or has another password.
var errWrong = errors.New("wrong user name or password")

// errEntry is the error for a user whose entry does not say what is asked for.
var errEntry = errors.New("the user's entry")

const (
	maxAnswer   = 1 << 20  // bytes of a packet from the server, which its length announces
	maxSecret   = 64 << 10 // bytes of the file with the password of the search
	maxGroups   = 1000     // of a user
	ldapPort    = "389"
	ldapsPort   = "636"
	schemeLDAP  = "ldap"
	schemeLDAPS = "ldaps"
)

// limitOnce sets the limit of the library, which is for all of the process.
var limitOnce sync.Once

// conns are the connections to a server: those that nobody uses now.
type conns struct {
	o      *Options
	url    *url.URL
	secret atomic.Pointer[string]        // the password of the search
	roots  atomic.Pointer[x509.CertPool] // nil: what the system trusts

	mu     sync.Mutex
	idle   []*conn // the one used last is last
	closed bool
}

func (cs *conns) init(o *Options) error {
	limitOnce.Do(func() { ber.MaxPacketLengthBytes = maxAnswer })
	cs.o = o
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return err
	case u.Scheme != schemeLDAP && u.Scheme != schemeLDAPS || u.Hostname() == "":
		return fmt.Errorf("%q is not of the form ldap://host or ldaps://host", o.URL)
	case o.StartTLS && u.Scheme == schemeLDAPS:
		return errors.New("starttls is for ldap://; ldaps:// has TLS from the start")
	}
	cs.url = u
	return nil
}

// reload reads the files.
func (cs *conns) reload() error {
	var secret string
	if name := cs.o.SearchPasswordFile; name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read the password of the search: %w", err)
		}
		line, _, _ := bytes.Cut(text, []byte("\n"))
		if secret = string(bytes.TrimSuffix(line, []byte("\r"))); secret == "" || len(text) > maxSecret {
			return fmt.Errorf("%s has no password in its first line", name)
		}
	}
	var roots *x509.CertPool
	for _, name := range cs.o.CA {
		text, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read authorities: %w", err)
		}
		if roots == nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s has no certificates in PEM", name)
		}
	}
	cs.secret.Store(&secret)
	cs.roots.Store(roots)
	return nil
}

// take returns a connection that can be used until end: one that was used before, or a new
// one.
func (cs *conns) take(end time.Time) (c *conn, fresh bool, err error) {
	for {
		cs.mu.Lock()
		n := len(cs.idle) - 1
		if n < 0 {
			cs.mu.Unlock()
			break
		}
		c = cs.idle[n]
		cs.idle = slices.Delete(cs.idle, n, n+1)
		cs.mu.Unlock()
		if c.ldap.IsClosing() || time.Since(c.used) > maxIdle || c.raw.SetDeadline(end) != nil {
			c.close()
			continue
		}
		return c, false, nil
	}
	c, err = cs.dial(end)
	return c, true, err
}

// keep keeps a connection for the next check. Those that nobody has used for long are
// closed.
func (cs *conns) keep(c *conn) {
	c.used = time.Now()
	if c.raw.SetDeadline(time.Time{}) != nil {
		c.close()
		return
	}
	cs.mu.Lock()
	old := slices.DeleteFunc(slices.Clone(cs.idle), func(o *conn) bool { return c.used.Sub(o.used) <= maxIdle })
	cs.idle = slices.DeleteFunc(cs.idle, func(o *conn) bool { return c.used.Sub(o.used) > maxIdle })
	if cs.closed {
		old = append(old, c)
	} else {
		cs.idle = append(cs.idle, c)
	}
	cs.mu.Unlock()
	for _, o := range old {
		o.close()
	}
}

func (cs *conns) close() {
	cs.mu.Lock()
	idle := cs.idle
	cs.idle, cs.closed = nil, true
	cs.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// conn is a connection to a server. One goroutine at a time uses it.
type conn struct {
	raw    net.Conn // without TLS: its deadline is that of all that goes on
	ldap   *ldap.Conn
	secret string // the password of the search
	used   time.Time
}

func (c *conn) close() {
	c.raw.Close()
	c.ldap.Close() // an error says that it was closed
}

// dial opens a connection, with TLS as far as that is asked for.
func (cs *conns) dial(end time.Time) (*conn, error) {
	port := ldapPort
	if cs.url.Scheme == schemeLDAPS {
		port = ldapsPort
	}
	if p := cs.url.Port(); p != "" {
		port = p
	}
	raw, err := (&net.Dialer{Deadline: end}).Dial("tcp", net.JoinHostPort(cs.url.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if err := raw.SetDeadline(end); err != nil {
		raw.Close()
		return nil, err
	}
	config := &tls.Config{ServerName: cs.url.Hostname(), RootCAs: cs.roots.Load(), MinVersion: tls.VersionTLS12}
	c := &conn{raw: raw, secret: *cs.secret.Load()}
	if cs.url.Scheme == schemeLDAPS {
		secure := tls.Client(raw, config)
		if err := secure.Handshake(); err != nil {
			raw.Close()
			return nil, fmt.Errorf("TLS with %s: %w", cs.o.URL, err)
		}
		c.ldap = ldap.NewConn(secure, true)
	} else {
		c.ldap = ldap.NewConn(raw, false)
	}
	c.ldap.Start()
	if cs.o.StartTLS {
		if err := c.ldap.StartTLS(config); err != nil {
			c.close()
			return nil, fmt.Errorf("StartTLS with %s: %w", cs.o.URL, err)
		}
	}
	return c, nil
}

// check looks whether a user can bind, and reads his entry if that is asked for.
func (c *conn) check(o *Options, name, password string) (u user, err error) {
	u.name = name
	var attributes []string
	for _, a := range []string{o.GroupAttribute, o.UserAttribute} {
		if a != "" {
			attributes = append(attributes, a)
		}
	}
	var entry *ldap.Entry
	dn := ""
	if o.BindDN != "" {
		dn = o.dnOf(name)
	} else {
		if entry, err = c.search(o, name, attributes); err != nil {
			return u, err
		}
		if entry == nil {
			// A bind that fails all the same: it takes as many round trips for a user that is
			// not there.
			dn = "cn=nobody," + o.SearchBase
		} else {
			dn = entry.DN
		}
	}
	if dn == "" || password == "" { // a bind would succeed, for nobody in particular
		return u, errWrong
	}
	switch err := c.bind(dn, password); {
	case err != nil:
		return u, err
	case o.BindDN == "" && entry == nil:
		return u, errWrong
	}
	if entry == nil && len(attributes) > 0 {
		if entry, err = c.read(dn, attributes); err != nil {
			return u, err
		}
	}
	return u, u.describe(o, entry)
}

// describe takes name and groups from the user's entry.
func (u *user) describe(o *Options, entry *ldap.Entry) error {
	if o.UserAttribute != "" {
		if u.name = entry.GetEqualFoldAttributeValue(o.UserAttribute); u.name == "" {
			return fmt.Errorf("%w: it has no attribute %s: %s", errEntry, o.UserAttribute, entry.DN)
		}
	}
	if o.GroupAttribute != "" {
		values := entry.GetEqualFoldAttributeValues(o.GroupAttribute)
		for _, v := range values[:min(len(values), maxGroups)] {
			u.groups = append(u.groups, groupOf(v))
		}
	}
	return nil
}

// bind is errWrong if the server does not take the password.
func (c *conn) bind(dn, password string) error {
	err := c.ldap.Bind(dn, password)
	var result *ldap.Error
	if !errors.As(err, &result) {
		return err
	}
	switch result.ResultCode {
	case ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultInappropriateAuthentication,
		ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultConstraintViolation, ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultNamingViolation:
		return errWrong
	}
	return fmt.Errorf("bind: %w", err)
}

// search returns the entry of a user, nil if there is none, or more than one.
func (c *conn) search(o *Options, name string, attributes []string) (*ldap.Entry, error) {
	var err error
	if o.SearchDN == "" {
		err = c.ldap.UnauthenticatedBind("")
	} else {
		err = c.ldap.Bind(o.SearchDN, c.secret)
	}
	if err != nil {
		return nil, fmt.Errorf("bind as %q to search: %w", o.SearchDN, err)
	}
	return c.one(o.SearchBase, ldap.ScopeWholeSubtree, o.filterOf(name), attributes)
}

// read returns an entry.
func (c *conn) read(dn string, attributes []string) (*ldap.Entry, error) {
	entry, err := c.one(dn, ldap.ScopeBaseObject, "(objectClass=*)", attributes)
	if err == nil && entry == nil {
		err = fmt.Errorf("%w: the user can't read it: %s", errEntry, dn)
	}
	return entry, err
}

// one returns the one entry that a search finds, nil if there are more or none.
func (c *conn) one(base string, scope int, filter string, attributes []string) (*ldap.Entry, error) {
	if attributes == nil {
		attributes = []string{"1.1"} // none
	}
	const few, seconds = 2, 10
	found, err := c.ldap.Search(ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, few, seconds, false, filter, attributes, nil))
	if ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) || ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) && scope == ldap.ScopeBaseObject {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("search below %q: %w", base, err)
	}
	if len(found.Entries) != 1 {
		return nil, nil
	}
	return found.Entries[0], nil
}
