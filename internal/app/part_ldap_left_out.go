//go:build without_ldap

package app

import (
	"errors"

	"midge/internal/auth"
	"midge/internal/settings"
)

// openLDAP refuses to start: the part was left out.
func openLDAP(*settings.LDAP, *access) (auth.Link, error) {
	return nil, errors.New("this binary was built without the part ldap, which asks LDAP servers; 'make build' builds all parts")
}
