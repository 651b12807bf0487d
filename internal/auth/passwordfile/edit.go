package passwordfile

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"midge/internal/linefile"
)

// maxName is how long a user name in MQTT may be, in bytes.
const maxName = 65_535

// ErrNoUser is the error for a user that is not in the file.
var ErrNoUser = errors.New("no such user")

// Editor changes the text of a password file, and leaves all other lines as they
// are.
type Editor struct{ *linefile.File }

// Edit reads a file to change it. With create it begins with an empty one.
func Edit(name string, create bool) (*Editor, error) {
	f, err := linefile.Open(name, create, maxFile)
	if err != nil {
		return nil, err
	}
	return &Editor{f}, nil
}

// is reports whether a line is that of a user, whatever hash it has.
func is(line []byte, user string) bool {
	name, _, ok := bytes.Cut(line, []byte(":"))
	return ok && string(name) == user
}

// Set gives a user a hash. added: it was not there.
func (e *Editor) Set(user, hash string) (added bool, err error) {
	if err := CheckName(user); err != nil {
		return false, err
	}
	if strings.HasPrefix(hash, scramPrefix) && !slices.ContainsFunc(e.Lines, func(l []byte) bool { return bytes.HasPrefix(l, []byte(madeUpPrefix)) }) {
		key := newKey()
		e.Lines = slices.Insert(e.Lines, 0, []byte(madeUpPrefix+base64.StdEncoding.EncodeToString(key[:])))
	}
	line := []byte(user + ":" + hash)
	at := slices.IndexFunc(e.Lines, func(l []byte) bool { return is(l, user) })
	if at < 0 {
		e.Lines = append(e.Lines, line)
		return true, nil
	}
	e.Lines[at] = line
	e.Lines = append(e.Lines[:at+1], slices.DeleteFunc(e.Lines[at+1:], func(l []byte) bool { return is(l, user) })...)
	return false, nil
}

// Delete takes a user out.
func (e *Editor) Delete(user string) error {
	n := len(e.Lines)
	e.Lines = slices.DeleteFunc(e.Lines, func(l []byte) bool { return is(l, user) })
	if len(e.Lines) == n {
		return fmt.Errorf("%s: %w: %q", e.Name, ErrNoUser, user)
	}
	return nil
}

// HashAll hashes passwords that are not hashed, and returns how many there were.
func (e *Editor) HashAll(kind Kind) (n int, err error) {
	for i, line := range e.Lines {
		name, password, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(line) == 0 || line[0] == '#' || len(password) == 0 || password[0] == '$' || CheckName(string(name)) != nil {
			continue
		}
		h, err := kind.Hash(password)
		if err != nil {
			return n, fmt.Errorf("line %d: %w", i+1, err)
		}
		e.Lines[i] = fmt.Appendf(nil, "%s:%s", name, h)
		n++
	}
	return n, nil
}

// CheckName reports what is wrong with a user name.
func CheckName(user string) error {
	switch {
	case user == "":
		return errors.New("the user name is empty")
	case strings.ContainsAny(user, ":\r\n\x00"):
		return fmt.Errorf("user name %q: it can't have a colon or a line end in a password file", user)
	case user[0] == '#':
		return fmt.Errorf("user name %q: a line that begins with # is a comment", user)
	case !utf8.ValidString(user) || len(user) > maxName:
		return fmt.Errorf("user name %q: no client can have it", shorten(user))
	}
	return nil
}
