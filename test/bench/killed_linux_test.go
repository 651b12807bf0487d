//go:build integration

package bench

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestCompareKilled proves that a broker ends with the comparison that has
// started it, however that ends: it holds a lock as long as it lives.
func TestCompareKilled(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir) // which a killed comparison can't clean up
	lock := filepath.Join(dir, "lock")
	plan := filepath.Join(dir, "plan.toml")
	text := `[[broker]]
name = "mosquitto"
command = ["sh", "-c", "exec 9>` + lock + `; flock 9; exec mosquitto -p {port}"]
[[scenario]]
scenario = "p2p-5-5-5-100"
warm_up = "0s"
duration = "1ms"
[[scenario]]
scenario = "p2p-5-5-5-100"
name = "long"
duration = "1h"
`
	if err := os.WriteFile(plan, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s := new(world).begin(t, "compare", plan, "--rounds", "1", "--out", filepath.Join(dir, "report"))
	s.until(t, "  1/2  round 1") // the second one goes on
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.end(t)
	f, err := os.Open(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	free := make(chan error, 1)
	go func() { free <- syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }()
	select {
	case err := <-free:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute): // a broker that is told to end takes a moment
		t.Fatal("the broker goes on")
	}
}
