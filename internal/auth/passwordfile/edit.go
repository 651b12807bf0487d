package passwordfile

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxName is how long a user name in MQTT may be, in bytes.
const maxName = 65_535

// ErrNoUser is the error for a user that is not in the file.
var ErrNoUser = errors.New("no such user")

// Editor changes the text of a password file, and leaves all other lines as they
// are.
type Editor struct {
	name  string
	lines [][]byte    // without line ends
	old   fs.FileInfo // nil: there was no such file
}

// Edit reads a file to change it. With create it begins with an empty one.
func Edit(name string, create bool) (*Editor, error) {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real // the link stays
	}
	e := &Editor{name: name}
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", name)
	case err == nil:
		e.old = info
	case !create:
		return nil, err
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if create {
		return e, nil
	}
	text, err := read(name)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		e.lines = append(e.lines, bytes.TrimRight(line, "\r\n"))
	}
	return e, nil
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
	if strings.HasPrefix(hash, scramPrefix) && !slices.ContainsFunc(e.lines, func(l []byte) bool { return bytes.HasPrefix(l, []byte(madeUpPrefix)) }) {
		key := newKey()
		e.lines = slices.Insert(e.lines, 0, []byte(madeUpPrefix+base64.StdEncoding.EncodeToString(key[:])))
	}
	line := []byte(user + ":" + hash)
	at := slices.IndexFunc(e.lines, func(l []byte) bool { return is(l, user) })
	if at < 0 {
		e.lines = append(e.lines, line)
		return true, nil
	}
	e.lines[at] = line
	e.lines = append(e.lines[:at+1], slices.DeleteFunc(e.lines[at+1:], func(l []byte) bool { return is(l, user) })...)
	return false, nil
}

// Delete takes a user out.
func (e *Editor) Delete(user string) error {
	n := len(e.lines)
	e.lines = slices.DeleteFunc(e.lines, func(l []byte) bool { return is(l, user) })
	if len(e.lines) == n {
		return fmt.Errorf("%s: %w: %q", e.name, ErrNoUser, user)
	}
	return nil
}

// HashAll hashes passwords that are not hashed, and returns how many there were.
func (e *Editor) HashAll(kind Kind) (n int, err error) {
	for i, line := range e.lines {
		name, password, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(line) == 0 || line[0] == '#' || len(password) == 0 || password[0] == '$' || CheckName(string(name)) != nil {
			continue
		}
		h, err := kind.Hash(password)
		if err != nil {
			return n, fmt.Errorf("line %d: %w", i+1, err)
		}
		e.lines[i] = fmt.Appendf(nil, "%s:%s", name, h)
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

// Save puts the new text in the place of the old one, all of it or nothing: a
// broker that reads meanwhile gets one of them. A new file is for its owner only;
// another one keeps its owner and permissions, but for those of everybody.
func (e *Editor) Save() error {
	dir := filepath.Dir(e.name)
	f, err := os.CreateTemp(dir, "."+filepath.Base(e.name)+".*") // with mode 0600
	if err != nil {
		return err
	}
	if err = errors.Join(e.write(f), f.Close()); err == nil {
		err = os.Rename(f.Name(), e.name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// write writes the text to a new file, and puts it on disk.
func (e *Editor) write(f *os.File) error {
	var text bytes.Buffer
	for _, line := range e.lines {
		text.Write(line)
		text.WriteByte('\n')
	}
	if _, err := f.Write(text.Bytes()); err != nil {
		return err
	}
	if e.old != nil {
		if err := giveTo(f, e.old); err != nil {
			return fmt.Errorf("give the new file to the owner of %s: %w", e.name, err)
		}
		if err := f.Chmod(e.old.Mode().Perm() &^ 0o007); err != nil {
			return err
		}
	}
	return f.Sync()
}
