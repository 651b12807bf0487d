//go:build !linux

package enginetest

import "testing"

func testKeepAlive(t *testing.T, _ New) { t.Skip("options are read back on Linux only") }
