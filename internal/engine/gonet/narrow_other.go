//go:build !linux

package gonet

import "io/fs"

// narrow does nothing here: the mode of a file comes after the file.
func narrow(uintptr, fs.FileMode) {}
