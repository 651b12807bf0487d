//go:build integration

package interop

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen. It is far above what
// anything here takes; a test that needs it has failed.
const patience = 5 * time.Minute

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
	var log bytes.Buffer // read only after the process has ended
	broker := exec.Command(binary, "serve", "--listen", "127.0.0.1:0")
	broker.Dir, broker.Stderr = dir, &log
	broker.Env = append(broker.Environ(), "MIDGE_LOG_BANNER=always")
	banner, err := broker.StdoutPipe()
	if err == nil {
		err = broker.Start()
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start midge: %w", err)
	}
	found, ended := make(chan string, 1), make(chan struct{})
	go func() {
		listening := regexp.MustCompile(`^ *listening +tcp://(\S+)`)
		for lines := bufio.NewScanner(banner); lines.Scan(); {
			if match := listening.FindStringSubmatch(lines.Text()); match != nil {
				found <- match[1]
			}
		}
		_ = broker.Wait() // the status of a killed process says nothing
		close(ended)
	}()
	stop = func() {
		_ = broker.Process.Kill() // an error means that it has ended
		<-ended
		os.RemoveAll(dir)
	}
	select {
	case addr = <-found:
		return stop, nil
	case <-ended:
	case <-time.After(patience):
	}
	stop()
	return nil, fmt.Errorf("midge serve does not listen within %v: %v\n%s", patience, broker.ProcessState, &log)
}
