package proc

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
)

// TestListener finds another process by its port, and not this one.
func TestListener(t *testing.T) {
	if os.Getenv("MIDGE_TEST_LISTENER") != "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString(l.Addr().String() + "\n")
		bufio.NewReader(os.Stdin).ReadByte() //nolint:errcheck // its end is the end
		return
	}
	other := exec.Command(os.Args[0], "-test.run", "^TestListener$")
	other.Env = append(os.Environ(), "MIDGE_TEST_LISTENER=1")
	in, _ := other.StdinPipe()
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait() //nolint:errcheck // it did what it was for
	defer in.Close()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(line[:len(line)-1])
	if pid, ok := Listener(at); !ok || pid != other.Process.Pid {
		t.Errorf("process %d, %v; want %d", pid, ok, other.Process.Pid)
	}
	own, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for _, nobody := range []string{own.Addr().String(), "192.0.2.1:1883", "127.0.0.1:1"} {
		if pid, ok := Listener(netip.MustParseAddrPort(nobody)); ok {
			t.Errorf("%s: process %d", nobody, pid)
		}
	}
}
