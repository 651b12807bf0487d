// Package completion tests the scripts of midge completion in real shells. Its
// tests carry the build tag integration; make test runs them.
package completion
