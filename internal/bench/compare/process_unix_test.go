//go:build unix

package compare

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStubborn proves that a broker that ignores SIGTERM is killed, and that
// the report tells.
func TestStubborn(t *testing.T) {
	p := planOf(t, "good", "stubborn")
	p.Brokers[1].Name = "willing" // at first, so that the comparison begins
	d := &doing{plan: p, temporary: t.TempDir()}
	s, err := d.start(t.Context(), &p.Brokers[1])
	if err != nil {
		t.Fatal(err)
	}
	err = s.stop(50 * time.Millisecond)
	if err == nil || err.Error() != "stop the broker: it ignored SIGTERM for 50ms and was killed" {
		t.Error(err)
	}
	if s.program.Exit() != "signal: killed" {
		t.Error(s.program.Exit())
	}
	if err := answers(t.Context(), s.address); err == nil {
		t.Error("it still answers")
	}
}

// TestFamily proves that what a broker has started is ended with it.
func TestFamily(t *testing.T) {
	p := planOf(t, "parent")
	lock := filepath.Join(t.TempDir(), "lock")
	p.Brokers[0].Command = append(p.Brokers[0].Command, lock)
	d := &doing{plan: p, temporary: t.TempDir()}
	s, err := d.start(t.Context(), &p.Brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	for { // until the child has its lock; the test's own limit bounds it
		if _, err := os.Stat(lock + ".held"); err == nil {
			break
		}
		select {
		case <-s.program.Done():
			t.Fatal(s.program.Exit(), s.output())
		case <-time.After(time.Millisecond):
		}
	}
	if err := s.stop(20 * time.Second); err != nil {
		t.Error(err)
	}
	if !strings.Contains(s.program.Exit(), "terminated") {
		t.Error(s.program.Exit())
	}
	f, err := os.Open(lock)
	if err != nil {
		t.Fatal(err)
	}
	// The system gives the lock to us when the child has ended, and not before.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Error(err)
	}
}
