//go:build !integration

package e2e

import "testing"

func TestLeftOut(t *testing.T) {
	t.Skip("left out: the tests of the real binary, which take their time; run them with -tags integration, or with make test")
}
