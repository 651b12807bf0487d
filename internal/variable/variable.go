// Package variable has texts of the configuration in which variables stand for who
// a client is: %u is its user name, %c its client identifier, %l the name of its
// listener, and %{cn}, %{o} and so on are of its certificate. All other text, and
// a % before anything else, stands for itself.
//
// What a value may have in it, so that a client can't widen what a text is about,
// its user decides: a topic level must not have a / or a wildcard, for one.
//
// Files, from the bottom up: certificate.go, variable.go.
package variable

import (
	"fmt"
	"slices"
	"strings"
)

// Name is a variable.
type Name uint8

// The variables.
const (
	None     Name = iota // text that is no variable
	User                 // %u
	ClientID             // %c
	Listener             // %l

	CommonName   // %{cn}: of the subject of the certificate
	Organization // %{o}, the first one
	Unit         // %{ou}, the first one
	DNS          // %{san_dns}: the first subject alternative name of this kind
	Email        // %{san_email}
	URI          // %{san_uri}
	Serial       // %{serial}: the serial number, in hexadecimal digits
)

// spelling is how variables are written.
var spelling = [...]string{
	User: "%u", ClientID: "%c", Listener: "%l",
	CommonName: "%{cn}", Organization: "%{o}", Unit: "%{ou}", DNS: "%{san_dns}", Email: "%{san_email}", URI: "%{san_uri}", Serial: "%{serial}",
}

func (n Name) String() string { return spelling[n] }

// Client is what variables stand for.
type Client struct {
	User        string // "" for nobody in particular
	ID          string
	Listener    string
	Certificate *Certificate // nil: the client has shown none
}

// Value is what a variable stands for, "" if the client has nothing of the kind.
func (c *Client) Value(n Name) string {
	switch n {
	case User:
		return c.User
	case ClientID:
		return c.ID
	case Listener:
		return c.Listener
	}
	return c.Certificate.value(n)
}

// Text is a text with variables in it: its parts in their order.
type Text []Part

// Part is a variable or, with None, a text.
type Part struct {
	Name Name
	Text string
}

// Parse reads a text. Only the variables that are known stand for something, all if
// there are none; a % before { must begin one then.
func Parse(text string, known ...Name) (Text, error) {
	var t Text
	literal := ""
	for text != "" {
		at := strings.IndexByte(text, '%')
		if at < 0 {
			at = len(text)
		}
		literal, text = literal+text[:at], text[at:]
		n, rest := begin(text, known)
		switch {
		case n != None:
			if literal != "" {
				t = append(t, Part{Text: literal})
			}
			t, literal, text = append(t, Part{Name: n}), "", rest
		case strings.HasPrefix(text, "%{") && known == nil:
			return nil, fmt.Errorf("%s: it can be one of %s", cut(text), strings.Join(spelling[User:], " "))
		case text != "":
			literal, text = literal+text[:1], text[1:]
		}
	}
	if literal != "" {
		t = append(t, Part{Text: literal})
	}
	return t, nil
}

// begin finds the variable that a text begins with.
func begin(text string, known []Name) (n Name, rest string) {
	for i, s := range spelling {
		if n := Name(i); n != None && strings.HasPrefix(text, s) && (known == nil || slices.Contains(known, n)) {
			return n, text[len(s):]
		}
	}
	return None, text
}

// cut takes from a text what was meant as a variable.
func cut(text string) string {
	if end := strings.IndexByte(text, '}'); end >= 0 {
		text = text[:end+1]
	}
	return strings.ToValidUTF8(text[:min(len(text), 20)], "?")
}

// Variables is how many variables there are.
func (t Text) Variables() (n int) {
	for _, p := range t {
		if p.Name != None {
			n++
		}
	}
	return n
}

// Has reports whether a variable is in the text.
func (t Text) Has(n Name) bool {
	return slices.ContainsFunc(t, func(p Part) bool { return p.Name == n })
}

// Fill puts the values of a client in. There is an error if it has none, or one with a
// character of unfit in it.
func (t Text) Fill(c *Client, unfit string) (string, error) {
	var b strings.Builder
	for _, p := range t {
		if p.Name == None {
			b.WriteString(p.Text)
			continue
		}
		value := c.Value(p.Name)
		switch at := strings.IndexAny(value, unfit); {
		case value == "":
			return "", fmt.Errorf("the client has no %v", p.Name)
		case at >= 0:
			return "", fmt.Errorf("%v of the client has %q in it", p.Name, value[at])
		}
		b.WriteString(value)
	}
	return b.String(), nil
}
