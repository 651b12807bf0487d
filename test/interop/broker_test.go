//go:build integration && unix

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"midge/test/process"
)

// patience is how long a test waits for what must happen. It is far above what
// anything here takes; a test that needs it has failed.
const patience = 5 * time.Minute

// addr is where the broker under test listens.
var addr string

func TestMain(m *testing.M) {
	if addr = os.Getenv("MIDGE_INTEROP_ADDR"); addr != "" {
		os.Exit(m.Run())
	}
	os.Exit(process.Built(func(binary string) int {
		broker, err := process.Start(exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", binary+"-data"))
		if err == nil {
			defer broker.Kill()
			err = broker.Listening(patience)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		addr = broker.Addr
		return m.Run()
	}))
}
