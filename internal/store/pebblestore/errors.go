package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"midge/internal/store"
)

// Errors of Open, Scan and Get. They come wrapped, with more words.
var (
	// ErrInUse says that a process uses the directory.
	ErrInUse = errors.New("directory in use")
	// ErrNewer says that a newer version wrote the directory.
	ErrNewer = errors.New("directory written by a newer version")
	// ErrCorrupt says that the database is damaged: that was proven. Open with
	// Salvage set brings back what can be read.
	ErrCorrupt = fmt.Errorf("database %w", store.ErrDamaged)
	// ErrUnreadable says that the disk could not read the database, although
	// that was tried for some seconds. It says nothing about what is there.
	ErrUnreadable = errors.New("disk cannot be read")
	// ErrClosed says that Close was called.
	ErrClosed = errors.New("store closed")
)

// shortage is what an operation waits for.
type shortage uint8

const (
	noShortage    shortage = iota
	noSpace                // on the disk
	noDescriptors          // of open files
	noMemory               // or something else of the system's
)

// shortageOf is what an operation lacked; noShortage if its error has another
// cause.
func shortageOf(err error) shortage {
	for s, errs := range map[shortage][]error{noSpace: spaceErrors[:], noDescriptors: descriptorErrors[:], noMemory: memoryErrors[:]} {
		for _, e := range errs {
			if errors.Is(err, e) {
				return s
			}
		}
	}
	return noShortage
}

// isNoSpace reports whether an error means that the disk is full.
func isNoSpace(err error) bool { return shortageOf(err) == noSpace }

// isPermanent reports whether an error of a read is an answer, which would be
// the same again.
func isPermanent(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, fs.ErrNotExist, fs.ErrPermission, fs.ErrClosed, fs.ErrInvalid, ErrInUse} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

// readError marks errors that prove damage with ErrCorrupt: checksums that do
// not match, blocks that make no sense, files that are missing. Others say
// nothing about what is on disk.
func readError(err error) error {
	if errors.Is(err, syscall.EIO) {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if !pebble.IsCorruptionError(err) || isSystemError(err) {
		return err
	}
	return corrupt(err)
}

// corrupt makes ErrCorrupt of an error. Pebble's words are in its first line;
// what follows is for its own tools.
func corrupt(err error) error {
	words, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("%w: %s", ErrCorrupt, words)
}

// isSystemError reports whether the operating system gave an error that says
// nothing about what is on disk, whatever it was wrapped in since.
func isSystemError(err error) bool {
	var errno syscall.Errno
	return errors.Is(err, ErrClosed) || errors.Is(err, fs.ErrClosed) || errors.As(err, &errno) && !errors.Is(err, fs.ErrNotExist)
}

// isDamage reports whether an error of opening means that data is damaged or
// missing, rather than that the operating system refuses for another reason.
// What cannot be read, although that was tried several times, is damage too: all
// of it stays in the quarantine.
func isDamage(err error) bool {
	if !isSystemError(err) {
		return !errors.Is(err, fs.ErrPermission)
	}
	return errors.Is(err, syscall.EIO)
}

// isNewerPebble reports whether Pebble does not know the format of the database.
// It has no value for the error.
func isNewerPebble(err error) bool {
	return strings.Contains(err.Error(), "written in unknown format major version")
}
