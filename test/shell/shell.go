// Package shell tests midge shell as its users meet it: in a real terminal, as
// a script, and against another broker. Its tests carry the build tag
// integration; make test runs them.
package shell
