package acl

import (
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
)

// maxFile bounds what is read of a file: more is not one of rules. Guess: 100,000
// rules have 5 MB.
const maxFile = 64 << 20

// File is the rules of a file, which can be read again.
type File struct {
	name string
	log  *slog.Logger
	list atomic.Pointer[list]
}

// Open reads a file of rules.
func Open(name string, log *slog.Logger) (*File, error) {
	f := &File{name: name, log: log}
	return f, f.Reload()
}

// Reload reads the file again. If something in it is wrong, what it has read before
// stays, and the error has the lines. Routing has to forget the answers that it
// remembers: broker.Broker.PermissionsChanged.
func (f *File) Reload() error {
	info, err := os.Stat(f.name)
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("it has %d bytes, and %d is the most", info.Size(), maxFile)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(f.name)
	}
	if err != nil {
		return fmt.Errorf("read the access list: %w", err)
	}
	next, err := parse(text)
	if err != nil {
		return fmt.Errorf("access list %s: %w", f.name, err)
	}
	for _, w := range next.warnings {
		f.log.Warn("access list", "file", f.name, "detail", w)
	}
	f.list.Store(next)
	return nil
}

// Rules is how many rules there are.
func (f *File) Rules() int { return f.list.Load().rules }
