//go:build integration && unix

package shell

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"midge/test/certificate"
)

// scripts are those of the package, with the transcripts that they must give
// with any broker.
const scripts = "../../internal/shell"

// TestScripts runs the same scripts against Midge and Mosquitto.
func TestScripts(t *testing.T) {
	address := map[string]string{
		"midge":     midgeBroker(t),
		"mosquitto": "mqtt://127.0.0.1:" + mosquittoBroker(t, "allow_anonymous true"),
	}
	t.Chdir(scripts)
	for broker, address := range address {
		for _, name := range []string{"source", "packets", "properties"} {
			t.Run(broker+"/"+name, func(t *testing.T) {
				status, stdout, stderr := run(t, "", "-L", address, "--script", "testdata/"+name+".midge", "--echo")
				want, err := os.ReadFile("testdata/" + name + ".txt")
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.ReplaceAll(stdout, address, "ADDRESS"); status != 0 || got != string(want) || stderr != "" {
					t.Errorf("status %d\n%s%s\nwant\n%s", status, got, stderr, want)
				}
			})
		}
	}
}

// TestStatus proves what a script leaves behind.
func TestStatus(t *testing.T) {
	address := midgeBroker(t)
	file := filepath.Join(t.TempDir(), "test.midge")
	for _, tt := range []struct {
		name, text     string
		status         int
		stdout, stderr string
	}{
		{"success", "connect a\n", 0, "a: connected to ADDRESS, MQTT 5.0, new session\n", ""},
		{"failure", "connect a\n\nexpect t --timeout 10ms\nnever\n", 1, "a: connected to ADDRESS, MQTT 5.0, new session\n", "midge: PLACE:3: expect: no message came for a within 10ms\n"},
		{"misuse", "conect a", 1, "", "midge: PLACE:1: conect: unknown command; 'help' lists them\n"},
		{"quit", "quit\nnonsense\n", 0, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			fromFile := []string{"-L", address, "--script", file}
			for _, from := range []struct {
				place, stdin string
				args         []string
			}{{file, "", fromFile}, {"standard input", tt.text, fromFile[:2]}} {
				status, stdout, stderr := run(t, from.stdin, from.args...)
				stdout = strings.ReplaceAll(stdout, address, "ADDRESS")
				if want := strings.ReplaceAll(tt.stderr, "PLACE", from.place); status != tt.status || stdout != tt.stdout || stderr != want {
					t.Errorf("from %s: status %d\n%s%s\nwant status %d\n%s%s", from.place, status, stdout, stderr, tt.status, tt.stdout, want)
				}
			}
		})
	}
	if status, _, stderr := run(t, "", "--script", "missing.midge"); status != 1 || stderr != "midge: read the script: open missing.midge: no such file or directory\n" {
		t.Errorf("status %d, %s", status, stderr)
	}
}

// TestSecurity connects over TLS, with passwords and certificates, as
// Mosquitto wants them.
func TestSecurity(t *testing.T) {
	dir := t.TempDir()
	certificate.New(t, "127.0.0.1").Write(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	passwords := filepath.Join(dir, "passwords")
	if out, err := exec.Command("mosquitto_passwd", "-b", "-c", passwords, "alice", "open sesame").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
	}
	if err := os.Chmod(passwords, 0o644); err != nil { // mosquitto gives up root
		t.Fatal(err)
	}
	cert := []string{"certfile " + dir + "/cert.pem", "keyfile " + dir + "/key.pem"}
	secured := mosquittoBroker(t, append(cert, "password_file "+passwords)...)
	mutual := mosquittoBroker(t, append(cert, "cafile "+dir+"/cert.pem", "require_certificate true", "use_identity_as_username true")...)
	script := strings.NewReplacer("DIR", dir, "SECURED", "127.0.0.1:"+secured, "MUTUAL", "127.0.0.1:"+mutual).Replace(`
set cafile DIR/cert.pem
connect alice -a mqtts://SECURED -u alice -P 'open sesame'
! connect mallory -a mqtts://SECURED -u alice -P guess
connect old -a mqtts://SECURED -u alice -V 3.1.1 --ask-password
open sesame
! connect plain -a SECURED --timeout 2s
connect mutual -a mqtts://MUTUAL --cert DIR/cert.pem --key DIR/key.pem
! connect nobody -a mqtts://MUTUAL
sub a/b
pub a/b hello
expect a/b hello
unset cafile
! connect doubtful -a mqtts://SECURED -u alice -P 'open sesame'
connect careless -a mqtts://SECURED -u alice -P 'open sesame' --insecure
disconnect --all
`)
	status, stdout, stderr := run(t, script)
	if status != 0 || stderr != "" {
		t.Fatalf("status %d\n%s%s", status, stdout, stderr)
	}
	for _, want := range []string{
		"alice: connected to mqtts://", "failed as it must: connect to mqtts://127.0.0.1:" + secured + ": refused: ",
		"old: connected to ", "mutual: connected to ", "careless: connected to ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}
