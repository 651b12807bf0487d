package shell

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"midge/internal/client"
)

// saved are the packets that have names. At the prompt they are kept in a file
// of the user; a script begins with none and leaves none.
type saved struct {
	packets map[string]client.Message
	path    string // "": kept in memory only
}

// openSaved reads the file at path; it doesn't have to exist.
func openSaved(path string) (*saved, error) {
	s := &saved{packets: map[string]client.Message{}, path: path}
	if path == "" {
		return s, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s.packets)
	}
	if err != nil {
		return nil, fmt.Errorf("read the saved packets in %s: %w", path, err)
	}
	if s.packets == nil { // the file says null
		s.packets = map[string]client.Message{}
	}
	return s, nil
}

func (s *saved) names() []string { return slices.Sorted(maps.Keys(s.packets)) }

// change changes the packets and writes them to the file.
func (s *saved) change(f func(map[string]client.Message)) error {
	f(s.packets)
	if s.path == "" {
		return nil
	}
	text, err := json.MarshalIndent(s.packets, "", "  ")
	if err == nil {
		err = replaceFile(s.path, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep the saved packets in %s: %w", s.path, err)
	}
	return nil
}

// replaceFile writes a file whole or not at all, for this user alone.
func replaceFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
