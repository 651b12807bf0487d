// Package conformance tests that docs/conformance.md tells the truth: it is
// generated from the lists of statements under test/conformance and from the
// names of the tests in the whole repository. It has no code of its own.
package conformance
