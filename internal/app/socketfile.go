package app

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// socketFile is the file of a Unix socket that this process listens on.
type socketFile struct {
	path string
	info fs.FileInfo
}

// probeWithin bounds how long a socket that is there may take to say whether somebody
// listens. The system answers at once, unless the queue of the other one is full.
const probeWithin = time.Second

// clearSocket removes the file that an earlier process has left at the path of a
// socket. One that somebody listens on stays, and so does everything that is no
// socket.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), path[0] == '@':
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("there is a file of that name, which is no socket")
	}
	c, err := net.DialTimeout("unix", path, probeWithin)
	if err == nil {
		c.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// claimSocket notes which file the path leads to now.
func claimSocket(path string) (socketFile, error) {
	if path[0] == '@' {
		return socketFile{path: path}, nil
	}
	info, err := os.Lstat(path)
	return socketFile{path, info}, err
}

// remove removes the file, unless it is another one by now: of a process that has
// taken the place.
func (f socketFile) remove() error {
	if f.info == nil {
		return nil
	}
	now, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !os.SameFile(f.info, now):
		return nil
	}
	return os.Remove(f.path)
}
