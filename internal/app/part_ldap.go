//go:build !without_ldap

package app

import (
	"midge/internal/auth"
	"midge/internal/auth/ldap"
	"midge/internal/settings"
)

// openLDAP makes the link that asks an LDAP server.
func openLDAP(set *settings.LDAP, a *access) (auth.Link, error) {
	if set.InClear() {
		a.log.Warn("passwords can be read on their way to the LDAP server; use ldaps:// or auth.ldap.starttls", "server", set.URL)
	}
	return ldap.Open(ldap.Options{
		URL: set.URL, StartTLS: set.StartTLS, CA: set.CA,
		Where: ldap.Where{
			BindDN: set.BindDN, SearchBase: set.SearchBase, SearchFilter: set.SearchFilter,
			SearchDN: set.SearchDN, SearchPasswordFile: set.SearchPasswordFile,
		},
		GroupAttribute: set.GroupAttribute, UserAttribute: set.UserAttribute, Last: true,
		Timeout: set.Timeout, Connections: set.Connections, Queue: set.Queue, CacheTime: set.CacheTime,
		Throttle: a.throttle, Log: a.log,
	})
}
