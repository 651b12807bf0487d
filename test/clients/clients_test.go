//go:build integration && unix

package clients

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"midge/test/process"
)

// binary is midge, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(process.Main(m, &binary)) }

// midgeBroker runs Midge until the test ends, and returns its port.
func midgeBroker(t *testing.T) (port string) {
	t.Helper()
	address := process.Serve(t, exec.Command(binary, "serve", "--memory", "--listen", "127.0.0.1:0", "--log-level", "error")).Addr
	return address[strings.LastIndexByte(address, ':')+1:]
}

// script runs a script of the shell and returns what it prints, and how it
// ended.
func script(t *testing.T, env []string, text string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	// await waits until a line with $1 is in the file $2.
	const helpers = `await() { for _ in $(seq 200); do grep -q -- "$1" "$2" 2>/dev/null && return; sleep 0.05; done; echo "no $1 in $2:" >&2; cat "$2" >&2; return 1; }
midge() { command "$MIDGE" "$@"; }
`
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", helpers+text)
	cmd.Dir = t.TempDir()
	cmd.Env = append(append(os.Environ(), "MIDGE="+binary), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // and what it has started
	var errs strings.Builder
	cmd.Stderr = &errs
	b, err := cmd.Output()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what a failed script has left, if anything
	if err != nil {
		t.Logf("%v\n%s", err, &errs)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// TestScripts runs scripts against both brokers.
func TestScripts(t *testing.T) {
	m := mosquitto(t)
	brokers := map[string]string{"midge": midgeBroker(t), "mosquitto": m["PORT"]}
	for broker, port := range brokers {
		for _, tt := range []struct{ name, text, want string }{
			{"hello", `midge sub -h 127.0.0.1 -p $PORT -t hello -C 1 -d >out 2>log & await 'subscribed to hello' log
midge pub -h 127.0.0.1 -p $PORT -t hello -m world; wait $!; cat out`, "world\n"},
			{"to mosquitto_sub", `for v in 31 311 5; do for q in 0 1 2; do : >out
stdbuf -oL mosquitto_sub -h 127.0.0.1 -p $PORT -V 311 -q 2 -t to/ms -C 3 -v -d >out & await SUBACK out
seq 3 | midge pub -h 127.0.0.1 -p $PORT -V $v -q $q -t to/ms -l; wait $!; grep ^to/ms out; done; done`, strings.Repeat("to/ms 1\nto/ms 2\nto/ms 3\n", 9)},
			{"from mosquitto_pub", `for v in mqttv31 mqttv311 mqttv5; do for q in 0 1 2; do : >log
midge sub -h 127.0.0.1 -p $PORT -V $v -q 2 -t from/mp -C 3 -v -d >out 2>log & await 'subscribed to' log
seq 3 | mosquitto_pub -h 127.0.0.1 -p $PORT -V $v -q $q -t from/mp -l; wait $!; cat out; done; done`, strings.Repeat("from/mp 1\nfrom/mp 2\nfrom/mp 3\n", 9)},
			{"the same format", `mosquitto_pub -h 127.0.0.1 -p $PORT -V 5 -r -q 1 -t format/x -m '{"a": 1}' -D publish content-type json -D publish user-property k v -D publish user-property k2 v2 -D publish response-topic r -D publish correlation-data c
f='%t|%p|%l|%m|%q|%r|%X|%x|%P|%C|%F|%D|%R|%10t|%-10t|%.3t|%010l|%q|%%|@@|\n\t\\'
mosquitto_sub -h 127.0.0.1 -p $PORT -V 5 -t format/x -C 1 -F "$f" | sed 's/k:v k2:v2/USER/; s/k:vk2:v2/USER/' >theirs
midge sub -h 127.0.0.1 -p $PORT -V 5 -t format/x -C 1 -F "$f" | sed 's/k:v k2:v2/USER/' >ours
diff theirs ours && echo same; midge pub -h 127.0.0.1 -p $PORT -t format/x -n -r -q 1`, "same\n"},
			{"a file", `head -c 1000000 /dev/urandom >sent; midge sub -h 127.0.0.1 -p $PORT -t file -C 1 -N -q 1 -d >got 2>log & await 'subscribed to' log
midge pub -h 127.0.0.1 -p $PORT -t file -q 1 -f sent; wait $!; cmp sent got && echo same`, "same\n"},
			{"a pipeline", `midge sub -h 127.0.0.1 -p $PORT -t up -C 3 -q 1 -d 2>log | tr a-z A-Z | midge pub -h 127.0.0.1 -p $PORT -t down -q 1 -l & await 'subscribed to up' log
midge sub -h 127.0.0.1 -p $PORT -t down -C 3 -q 1 -d >out 2>log2 & await 'subscribed to down' log2
printf 'a\nb\nc\n' | midge pub -h 127.0.0.1 -p $PORT -t up -q 1 -l; wait; cat out`, "A\nB\nC\n"},
			{"a session", `midge sub -h 127.0.0.1 -p $PORT -i keep -c -q 2 -t kept -E; seq 4 | midge pub -h 127.0.0.1 -p $PORT -t kept -q 2 -l
midge sub -h 127.0.0.1 -p $PORT -i keep -c -q 2 -t kept -C 1; midge sub -h 127.0.0.1 -p $PORT -i keep -c -q 2 -t kept -C 3; midge sub -h 127.0.0.1 -p $PORT -i keep -U kept -E`, "1\n2\n3\n4\n"},
			{"head", `midge sub -h 127.0.0.1 -p $PORT -t head -d 2>log | head -n 1 & await 'subscribed to' log
midge pub -h 127.0.0.1 -p $PORT -t head -m one; midge pub -h 127.0.0.1 -p $PORT -t head -m two; midge pub -h 127.0.0.1 -p $PORT -t head -m three; wait $! && echo ended`, "one\nended\n"},
			{"a will", `midge sub -h 127.0.0.1 -p $PORT -t gone -C 1 -d >out 2>log & watcher=$!; await 'subscribed to' log
"$MIDGE" sub -h 127.0.0.1 -p $PORT -t x -d --will-topic gone --will-payload dead 2>log2 & await 'subscribed to' log2; kill -9 $!; wait $watcher; cat out`, "dead\n"},
			{"interrupt", `"$MIDGE" sub -h 127.0.0.1 -p $PORT -t x -d 2>log & await 'subscribed to' log; kill -TERM $!; wait $!; tail -n 1 log`, "sending DISCONNECT\n"},
			{"timeout", `midge sub -h 127.0.0.1 -p $PORT -t quiet -W 1 2>&1 || echo status $?`, "midge: timed out\nstatus 27\n"},
			{"retained", `for i in 1 2 3; do midge pub -h 127.0.0.1 -p $PORT -t ret/$i -m $i -r -q 1; done
midge sub -h 127.0.0.1 -p $PORT -t 'ret/#' --remove-retained -C 3 | sort; midge sub -h 127.0.0.1 -p $PORT -t 'ret/#' -W 1 --quiet || echo $?`, "1\n2\n3\n27\n"},
		} {
			t.Run(broker+"/"+tt.name, func(t *testing.T) {
				if out, status := script(t, []string{"PORT=" + port}, tt.text); status != 0 || out != tt.want {
					t.Errorf("status %d\n%s\nwant\n%s", status, out, tt.want)
				}
			})
		}
	}
}

// TestTransports runs a round trip over each listener of Mosquitto, and the
// refusals that go with them.
func TestTransports(t *testing.T) {
	var env []string
	for name, value := range mosquitto(t) {
		env = append(env, name+"="+value)
	}
	const round = `for v in 31 311 5; do : >log; midge sub $AT -V $v -t t -q 1 -C 1 -d >out 2>log & await 'subscribed to' log
midge pub $AT -V $v -t t -q 1 -m "over $v"; wait $!; cat out; done`
	const all = "over 31\nover 311\nover 5\n"
	for _, tt := range []struct{ name, text, want string }{
		{"TCP", `AT="-h 127.0.0.1 -p $PORT"; ` + round, all},
		{"Unix socket", `AT="--unix $SOCKET"; ` + round, all},
		{"TLS", `AT="-h localhost -p $TLS --cafile $CA"; ` + round, all},
		{"TLS by URL", `AT="-L mqtts://localhost:$TLS --cafile $CA"; ` + round, all},
		{"TLS, insecure", `AT="-h 127.0.0.1 -p $TLS --insecure"; ` + round, all},
		{"TLS with a directory", `AT="-h localhost -p $TLS --capath $CADIR --tls-version tlsv1.3"; ` + round, all},
		{"client certificate", `AT="-h localhost -p $MUTUAL --cafile $CA --cert $CERT --key $KEY"; ` + round, all},
		{"WebSocket", `AT="-h 127.0.0.1 -p $WS --ws"; ` + round, all},
		{"WebSocket by URL", `AT="-L ws://127.0.0.1:$WS/any"; ` + round, all},
		{"secure WebSocket", `AT="-h localhost -p $WSS --ws --cafile $CA"; ` + round, all},
		{"password", `AT="-h 127.0.0.1 -p $LOCKED -u me -P secret"; ` + round, all},
		{
			"wrong password", `midge pub -h 127.0.0.1 -p $LOCKED -u me -P wrong -t t -m x 2>&1 || echo $?; midge pub -h 127.0.0.1 -p $LOCKED -V 311 -t t -m x 2>&1 || echo $?`,
			"midge: connect to mqtt://127.0.0.1:$LOCKED: refused: not authorized (0x87)\n1\nmidge: connect to mqtt://127.0.0.1:$LOCKED: refused: not authorized (0x87)\n1\n",
		},
		{
			"unknown authority", `midge pub -h localhost -p $TLS --tls-use-os-certs -t t -m x 2>&1 || echo $?`,
			"midge: connect to mqtts://localhost:$TLS: tls: failed to verify certificate: x509: certificate signed by unknown authority (name the authority's file with --cafile, or accept anything with --insecure)\n1\n",
		},
		{"no client certificate", `(midge pub -h localhost -p $MUTUAL --cafile $CA -t t -m x || true) 2>&1 | grep -c 'refused the TLS connection: tls: certificate required'`, "1\n"},
		{"TLS expected", `(midge pub -h localhost -p $TLS -t t -m x || true) 2>&1 | grep -cE 'it speaks TLS; use mqtts|or expect TLS'`, "1\n"},
		{"TLS not expected", `(midge pub -h localhost -p $PORT --cafile $CA -t t -m x || true) 2>&1 | grep -cE 'it may not speak TLS|does not speak TLS'`, "1\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := os.Expand(tt.want, func(name string) string {
				for _, e := range env {
					if value, ok := strings.CutPrefix(e, name+"="); ok {
						return value
					}
				}
				return "$" + name
			})
			if out, status := script(t, env, tt.text); status != 0 || out != want {
				t.Errorf("status %d\n%s\nwant\n%s", status, out, want)
			}
		})
	}
}
