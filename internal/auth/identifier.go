package auth

import (
	"fmt"
	"strings"
)

// Identifiers are the client identifiers that a user may have: a text in which %u
// is the user's name, and * at the end is any text. So "%u-*" keeps users from
// taking over each other's sessions. The zero value allows all.
type Identifiers struct {
	before, after string
	any, set      bool
}

// ParseIdentifiers reads such a text; "" allows all.
func ParseIdentifiers(text string) (p Identifiers, err error) {
	if text == "" {
		return p, nil
	}
	p.set = true
	rest, any := strings.CutSuffix(text, "*")
	p.any = any
	before, after, found := strings.Cut(rest, "%u")
	if !found || strings.Contains(after, "%u") || strings.Contains(rest, "*") {
		return p, fmt.Errorf("%q has to have %%u once, and may have * at its end, such as \"%%u\" or \"%%u-*\"", text)
	}
	p.before, p.after = before, after
	return p, nil
}

// Allow reports whether a user may have a client identifier. Somebody without a
// name may not: it could be that of a user.
func (p *Identifiers) Allow(user, id string) bool {
	if !p.set {
		return true
	}
	rest, ok := strings.CutPrefix(id, p.before+user+p.after)
	return ok && user != "" && (p.any || rest == "")
}
