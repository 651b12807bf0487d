package proc

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestProcess proves that what is read is that of the process: CPU time that
// was spent, memory that was touched, bytes that were written.
func TestProcess(t *testing.T) {
	pid := os.Getpid()
	read := func() (cpu time.Duration, rss, high, written int64) {
		cpu, err := CPU(pid)
		if err != nil {
			t.Fatal(err)
		}
		for field, get := range map[*int64]func() (int64, error){
			&rss: func() (int64, error) { return RSS(pid) }, &high: func() (int64, error) { return Memory(pid, "VmHWM") },
			&written: func() (int64, error) { return Written(pid) },
		} {
			if *field, err = get(); err != nil {
				t.Fatal(err)
			}
		}
		return cpu, rss, high, written
	}
	cpu, rss, high, written := read()
	const size = 32 << 20
	touched := make([]byte, size)
	for start := time.Now(); time.Since(start) < 20*time.Millisecond; {
		for i := 0; i < size; i += 4096 {
			touched[i]++
		}
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(touched[:1<<20]); err != nil {
		t.Fatal(err)
	}
	cpu2, rss2, high2, written2 := read()
	if cpu2 <= cpu || rss2 < rss+size/2 || high2 < high || high2 < rss2-size/2 || written2 < written {
		t.Errorf("CPU %v to %v, resident %d to %d, highest %d to %d, written %d to %d", cpu, cpu2, rss, rss2, high, high2, written, written2)
	}
	if n, err := Threads(pid); n < 1 || err != nil {
		t.Errorf("%d threads, %v", n, err)
	}
	own, err := OwnOpenFiles()
	if n, err2 := OpenFiles(pid); n != own || err != nil || err2 != nil {
		t.Errorf("%d open files are allowed by one, %d by the other: %v, %v", own, n, err, err2)
	}
	if touched[0] == 0 {
		t.Error("nothing was touched") // and the memory is used until here
	}
}

// TestNoProcess proves that errors name the process and what is missing.
func TestNoProcess(t *testing.T) {
	const nobody = 1 << 23 // above the highest process id
	if _, err := CPU(nobody); err == nil || !strings.Contains(err.Error(), "process 8388608") {
		t.Error(err)
	}
	if _, err := RSS(nobody); err == nil || !strings.Contains(err.Error(), "process 8388608") {
		t.Error(err)
	}
	if _, err := Memory(os.Getpid(), "VmNone"); err == nil || !strings.Contains(err.Error(), "no VmNone: in status") {
		t.Error(err)
	}
}

func TestMachine(t *testing.T) {
	if n := LocalPorts(); n < 1 || n > 65535 {
		t.Errorf("%d ports", n)
	}
	if len(strings.Fields(LoadAverage())) != 3 || Kernel() == "" || strings.ContainsAny(Kernel()+CPUModel(), "\n\t") {
		t.Errorf("load %q, kernel %q, processor %q", LoadAverage(), Kernel(), CPUModel())
	}
}
