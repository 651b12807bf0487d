//go:build unix

package compare

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
)

// behaviour is how the test binary behaves when it runs as a broker; the
// environment says so.
const behaviour = "MIDGE_TEST_BROKER"

func TestMain(m *testing.M) {
	if how := os.Getenv(behaviour); how != "" {
		os.Exit(serve(how, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// serve is a broker that answers CONNECT and knows nothing else. args are its
// port, and for some behaviours a file.
func serve(how string, args []string) int {
	fmt.Println("a broker that is", how)
	switch how {
	case "broken":
		fmt.Fprintln(os.Stderr, "no such option")
		return 3
	case "talkative":
		for i := range 1000 {
			fmt.Println("line", i)
		}
		return 1
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "parent":
		child := exec.Command(os.Args[0], args...)
		child.Env = append(os.Environ(), behaviour+"=child")
		if err := child.Start(); err != nil {
			return 1
		}
		return accept(args[0], how)
	case "child":
		// It has a lock as long as it lives, and ignores SIGTERM.
		signal.Ignore(syscall.SIGTERM)
		return hold(args[1])
	}
	return accept(args[0], how)
}

func accept(port, how string) int {
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for n := 1; ; n++ {
		c, err := l.Accept()
		if err != nil {
			return 1
		}
		if how == "mortal" && n > 1 { // the first only asks whether it is ready
			fmt.Fprintln(os.Stderr, "assertion failed")
			return 7
		}
		go answer(c, how)
	}
}

func answer(c net.Conn, how string) {
	defer c.Close()
	b := make([]byte, 1024)
	if _, err := c.Read(b); err != nil {
		return
	}
	switch how {
	case "silent":
		_, _ = io.Copy(io.Discard, c)
	case "babbling":
		fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
	case "forbidding":
		fmt.Fprint(c, "\x20\x02\x00\x05")
	default:
		fmt.Fprint(c, "\x20\x02\x00\x00")
	}
}

// hold locks a file until the process is killed.
func hold(name string) int {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil || syscall.Flock(int(f.Fd()), syscall.LOCK_EX) != nil {
		return 1
	}
	if err := os.WriteFile(name+".held", nil, 0o644); err != nil {
		return 1
	}
	select {}
}
