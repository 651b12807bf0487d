//go:build without_ldap

package cli

func ldapPart() part { return leftOut("ldap") }
