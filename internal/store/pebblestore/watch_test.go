package pebblestore_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a test may go without a step. None takes a second.
const patience = 5 * time.Minute

// watch ends the tests, with the stacks of all goroutines that matter, when t
// hangs: when for long it neither ends nor calls step.
func watch(t *testing.T) (step func()) {
	t.Helper()
	name := t.Name()
	timer := time.AfterFunc(patience, func() {
		panic(fmt.Sprintf("%s hangs: it made no step for %v. Goroutines, without those that a failed disk holds:\n\n%s", name, patience, stacks()))
	})
	t.Cleanup(func() { timer.Stop() })
	return func() { timer.Reset(patience) }
}

// stacks are those of all goroutines but Pebble's on disks that have failed:
// those never end, and earlier tests leave many.
func stacks() string {
	buf := make([]byte, 64<<20)
	all := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	all = slices.DeleteFunc(all, func(s string) bool { return strings.Contains(s, "pebblestore.(*disk).refuse(") })
	return strings.Join(all, "\n\n")
}
