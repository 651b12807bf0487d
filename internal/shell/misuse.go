package shell

import (
	"errors"
	"fmt"
)

// errQuit ends the shell.
var errQuit = errors.New("quit")

// usageError is the error of a line that makes no sense, so that nothing was
// done. A script can't expect it.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }
