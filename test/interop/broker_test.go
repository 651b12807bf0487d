//go:build integration

package interop

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen. It is far above what
// anything here takes; a test that needs it has failed.
const patience = 15 * time.Second

// addr is where the broker under test listens.
var addr string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if addr = os.Getenv("MIDGE_INTEROP_ADDR"); addr != "" {
		return m.Run()
	}
	stop, err := serve()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stop()
	return m.Run()
}

// serve builds midge and starts it on a free port.
func serve() (stop func(), err error) {
	dir, err := os.MkdirTemp("", "midge-interop-")
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "midge")
	build := exec.Command("go", "build", "-o", binary, "./cmd/midge")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("build midge: %w\n%s", err, out)
	}
	if addr, err = freeAddr(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	var log bytes.Buffer // read only after the process has ended
	broker := exec.Command(binary, "serve", "--listen", "tcp://"+addr)
	broker.Dir, broker.Stdout, broker.Stderr = dir, &log, &log
	if err := broker.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start midge: %w", err)
	}
	ended := make(chan struct{})
	go func() { _ = broker.Wait(); close(ended) }()
	stop = func() {
		_ = broker.Process.Kill() // an error means that it has ended
		<-ended
		os.RemoveAll(dir)
	}
	if err := ready(ended); err != nil {
		stop()
		return nil, fmt.Errorf("midge serve: %w\n%s", err, &log)
	}
	return stop, nil
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// ready waits until the broker accepts connections.
func ready(ended <-chan struct{}) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			return conn.Close()
		}
		select {
		case <-ended:
			return fmt.Errorf("it ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("no connection to %s within %v", addr, patience)
}
