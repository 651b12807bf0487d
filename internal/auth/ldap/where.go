package ldap

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// Where says where a user stands: BindDN, or what is searched for.
type Where struct {
	BindDN string // a DN in which %u is the user's name

	SearchBase         string // where the search begins,
	SearchFilter       string // for whom: %u is the user's name,
	SearchDN           string // by whom; "" for nobody in particular,
	SearchPasswordFile string // with which password
}

// check reports what is wrong. entry: the user's entry is read.
func (w *Where) check(entry bool) error {
	switch {
	case (w.BindDN == "") == (w.SearchBase == ""):
		return errors.New("either bind_dn or search_base says where a user stands")
	case w.BindDN != "" && !strings.Contains(w.BindDN, "%u"):
		return fmt.Errorf("bind_dn %q: it has no %%u, the user's name", w.BindDN)
	case w.SearchBase != "" && !strings.Contains(w.SearchFilter, "%u"):
		return fmt.Errorf("search_filter %q: it has no %%u, the user's name", w.SearchFilter)
	case (w.SearchDN == "") != (w.SearchPasswordFile == ""):
		return errors.New("search_dn and search_password_file go together")
	}
	if w.BindDN != "" && entry {
		if _, err := ldap.ParseDN(w.dnOf("x")); err != nil {
			return fmt.Errorf("bind_dn %q: it is no DN, so that the user's entry can't be read: %w", w.BindDN, err)
		}
	}
	if w.SearchBase != "" {
		if _, err := ldap.ParseDN(w.SearchBase); err != nil {
			return fmt.Errorf("search_base %q: %w", w.SearchBase, err)
		}
		if _, err := ldap.CompileFilter(w.filterOf("x")); err != nil {
			return fmt.Errorf("search_filter %q: %w", w.SearchFilter, err)
		}
	}
	return nil
}

// dnOf is the DN of a user.
func (w *Where) dnOf(name string) string {
	return strings.ReplaceAll(w.BindDN, "%u", ldap.EscapeDN(name))
}

// filterOf finds a user.
func (w *Where) filterOf(name string) string {
	return strings.ReplaceAll(w.SearchFilter, "%u", ldap.EscapeFilter(name))
}

// groupOf is the name of a group in an attribute such as memberOf: the value, or the first
// part of it if that is a DN.
func groupOf(value string) string {
	if dn, err := ldap.ParseDN(value); err == nil && len(dn.RDNs) > 1 && len(dn.RDNs[0].Attributes) == 1 {
		return dn.RDNs[0].Attributes[0].Value
	}
	return value
}
