//go:build integration && unix

package shell

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"midge/test/process"
)

// patience is how long a test waits for what must happen. A test that needs it
// has failed.
const patience = 5 * time.Minute

// binary is the path of the midge under test.
var binary string

func TestMain(m *testing.M) { os.Exit(process.Main(m, &binary)) }

// midgeBroker starts Midge and returns its address.
func midgeBroker(t *testing.T) string {
	t.Helper()
	return "mqtt://" + process.Serve(t, exec.Command(binary, "serve", "--memory", "--listen", "127.0.0.1:0")).Addr
}

// mosquittoBroker starts Debian's Mosquitto with one listener and more lines of
// configuration; it returns the port.
func mosquittoBroker(t *testing.T, lines ...string) (port string) {
	t.Helper()
	_, ports := process.Mosquitto(t, "listener {port} 127.0.0.1\n"+strings.Join(lines, "\n")+"\n")
	return ports["port"]
}

// run runs midge shell to its end.
func run(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"shell"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	return process.Run(t, patience, cmd)
}
