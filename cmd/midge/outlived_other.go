//go:build !unix

package main

import "os"

// outlived catches nothing: the system has no such signals.
func outlived() <-chan os.Signal { return nil }
