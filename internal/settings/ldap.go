package settings

import (
	"fmt"
	"net/netip"
	"net/url"
	"time"
)

// LDAP says how an LDAP server is asked who may connect.
type LDAP struct {
	URL                string
	StartTLS           bool
	CA                 []string
	BindDN             string
	SearchBase         string
	SearchFilter       string
	SearchDN           string
	SearchPasswordFile string
	GroupAttribute     string
	UserAttribute      string
	Timeout            time.Duration
	Connections        int
	Queue              int
	CacheTime          time.Duration
}

func ldap() Section {
	return Section{Name: "auth.ldap", Doc: "An LDAP server that looks at passwords: see [authentication](../authentication.md#ask-an-ldap-server).", Settings: []Setting{
		{
			Key: "auth.ldap.url", At: func(c *Settings) any { return &c.LDAP.URL },
			Default: "", PerListener: true, Zero: "no such server is asked", Check: checkLDAP, Change: forNew,
			Doc:    "The server: `ldap://host` or `ldaps://host`, with a port behind it if it is not 389 or 636. A user whom `auth.password_file` does not have is let in if he can bind there with his password. An empty password is never taken.",
			Reason: "Only you know where your users are.",
		}, {
			Key: "auth.ldap.starttls", At: func(c *Settings) any { return &c.LDAP.StartTLS },
			Default: false, PerListener: true, Change: forNew,
			Doc:    "Whether a connection of `ldap://` changes to TLS before anything else. Without, and without `ldaps://`, passwords can be read on the way.",
			Reason: "A server on the same machine has often no certificate.",
		}, {
			Key: "auth.ldap.ca", At: func(c *Settings) any { return &c.LDAP.CA },
			Default: []string{}, PerListener: true, Zero: "those that the system trusts", Change: forNew,
			Doc:    "PEM files with the authorities that the server's certificate must come from. They are read again with the other files.",
			Reason: "Servers with a public name have certificates that everybody trusts.",
		}, {
			Key: "auth.ldap.bind_dn", At: func(c *Settings) any { return &c.LDAP.BindDN },
			Default: "", PerListener: true, Zero: "users are searched for", Change: forNew,
			Doc:    "What a user binds as: a DN in which `%u` is the user's name, such as `uid=%u,ou=people,dc=example,dc=org`. What has a meaning in a DN is escaped in the name.",
			Reason: "Only you know where your users are. Either this or `auth.ldap.search_base` is needed.",
		}, {
			Key: "auth.ldap.search_base", At: func(c *Settings) any { return &c.LDAP.SearchBase },
			Default: "", PerListener: true, Zero: "nobody is searched for", Change: forNew,
			Doc:    "Below which DN a user is searched for, such as `dc=example,dc=org`. There must be one that `auth.ldap.search_filter` finds, not more.",
			Reason: "A DN that can be made from the name needs no search.",
		}, {
			Key: "auth.ldap.search_filter", At: func(c *Settings) any { return &c.LDAP.SearchFilter },
			Default: "(uid=%u)", PerListener: true, Change: forNew,
			Doc:    "Who is searched for: a filter in which `%u` is the user's name, such as `(&(objectClass=person)(memberOf=cn=mqtt,ou=groups,dc=example,dc=org)(uid=%u))`; with Active Directory `(sAMAccountName=%u)`. What has a meaning in a filter is escaped in the name.",
			Reason: "`uid` has the name of a user in most directories.",
		}, {
			Key: "auth.ldap.search_dn", At: func(c *Settings) any { return &c.LDAP.SearchDN },
			Default: "", PerListener: true, Zero: "nobody in particular", Change: forNew,
			Doc:    "The account that searches.",
			Reason: "Some servers let everybody search.",
		}, {
			Key: "auth.ldap.search_password_file", At: func(c *Settings) any { return &c.LDAP.SearchPasswordFile },
			Default: "", PerListener: true, Zero: "none", Change: forNew,
			Doc:    "A file whose first line is the password of that account. It is read again with the other files.",
			Reason: "A password does not belong in the file of settings.",
		}, {
			Key: "auth.ldap.group_attribute", At: func(c *Settings) any { return &c.LDAP.GroupAttribute },
			Default: "", PerListener: true, Zero: "users have no groups", Change: forNew,
			Doc:    "The attribute of a user's entry that has the groups, such as `memberOf`, for `group=` in an access list. Of a DN the first part is the name: `plant` of `cn=plant,ou=groups,dc=example,dc=org`. With `auth.ldap.bind_dn` the user must be able to read it.",
			Reason: "Not every directory has one.",
		}, {
			Key: "auth.ldap.user_attribute", At: func(c *Settings) any { return &c.LDAP.UserAttribute },
			Default: "", PerListener: true, Zero: "the user's name is as the client says it", Change: forNew,
			Doc:    "The attribute of a user's entry that has the user's name for access lists and `%u`, such as `uid`. Directories take `Alice` for `alice`, and an access list does not: with it both are what the directory has.",
			Reason: "It costs a search, and users need to be able to read their entries.",
		}, {
			Key: "auth.ldap.timeout", At: func(c *Settings) any { return &c.LDAP.Timeout },
			Default: 3 * time.Second, Min: int64(10 * time.Millisecond), Max: int64(time.Minute), PerListener: true, Change: forNew,
			Doc:    "How long a check may take in all, with the wait for a connection. After that CONNECT is refused with 0x89 (3.1.1: 3).",
			Reason: "Less than `limits.connect_timeout`, so that the client is told.",
		}, {
			Key: "auth.ldap.connections", At: func(c *Settings) any { return &c.LDAP.Connections },
			Default: 8, Min: 1, Max: 1024, PerListener: true, Change: forNew,
			Doc:    "Connections to the server at one time, each of which checks one password at a time. They are used again, and closed after a minute of rest.",
			Reason: "At 2 ms a check, 4,000 a second.",
		}, {
			Key: "auth.ldap.queue", At: func(c *Settings) any { return &c.LDAP.Queue },
			Default: 1000, Min: 1, Max: 1_000_000, PerListener: true, Change: forNew,
			Doc:    "CONNECT packets that may wait for one, half of them from one address. More are refused with 0x89 (3.1.1: 3).",
			Reason: "More than a server answers within the timeout if it is slow.",
		}, {
			Key: "auth.ldap.cache_time", At: func(c *Settings) any { return &c.LDAP.CacheTime },
			Default: time.Duration(0), Max: int64(24 * time.Hour), PerListener: true, Zero: "the server is asked each time", Change: forNew,
			Doc:    "How long a password that was right is not asked about again, by a digest whose key is in memory only, for 10,000 users at most. SIGHUP forgets all. Whoever was locked in the directory still gets in for so long.",
			Reason: "A user who is locked is locked at once. A minute spares the server a storm of clients that come back.",
		},
	}}
}

// checkLDAP reports what is wrong with the URL of a server.
func checkLDAP(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "ldap" && u.Scheme != "ldaps" || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%q is no LDAP server; write such as \"ldaps://ldap.example.org\"", text)
	case u.User != nil:
		return fmt.Errorf("a URL must not have a password in it, which ends up in logs: see auth.ldap.search_password_file")
	}
	return nil
}

// InClear reports whether passwords can be read on their way to the server.
func (l *LDAP) InClear() bool {
	u, err := url.Parse(l.URL)
	if err != nil || u.Scheme != "ldap" || l.StartTLS {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !a.IsLoopback())
}
