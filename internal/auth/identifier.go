package auth

import (
	"fmt"
	"strings"

	"midge/internal/variable"
)

// Identifiers are the client identifiers that a user may have: a text in which a variable
// is who the user is, and * at the end is any text. So "%u-*" keeps users from
// taking over each other's sessions. The zero value allows all.
type Identifiers struct {
	text     variable.Text
	any, set bool
}

// ParseIdentifiers reads such a text; "" allows all.
func ParseIdentifiers(text string) (p Identifiers, err error) {
	if text == "" {
		return p, nil
	}
	p.set = true
	rest, any := strings.CutSuffix(text, "*")
	p.any = any
	if p.text, err = variable.Parse(rest); err != nil {
		return p, err
	}
	if p.text.Variables() != 1 || p.text.Has(variable.ClientID) || p.text.Has(variable.Listener) || strings.Contains(rest, "*") {
		return p, fmt.Errorf("%q has to have %%u, or something of the certificate such as %%{cn}, once, and may have * at its end, such as \"%%u\" or \"%%u-*\"", text)
	}
	return p, nil
}

// Allow reports whether a client may have its client identifier. One that has nothing of
// what the variable stands for may not: it could be that of a user.
func (p *Identifiers) Allow(c *variable.Client) bool {
	if !p.set {
		return true
	}
	begin, err := p.text.Fill(c, "")
	rest, ok := strings.CutPrefix(c.ID, begin)
	return err == nil && ok && (p.any || rest == "")
}
