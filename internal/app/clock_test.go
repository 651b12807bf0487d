package app

import (
	"runtime"
	"testing"
	"time"
)

// TestClocks reads the clocks of this machine.
func TestClocks(t *testing.T) {
	began := time.Now()
	read := clocks(func() time.Duration { return time.Since(began) })
	first, second := read(), read()
	if second.Engine < first.Engine || second.Up < first.Up || second.Boot != first.Boot || time.Since(first.Wall).Abs() > time.Hour {
		t.Errorf("read %+v and then %+v", first, second)
	}
	if runtime.GOOS == "linux" && (first.Boot == "" || first.Up <= 0) {
		t.Errorf("the kernel tells neither boot nor time since then: %+v", first)
	}
}
