//go:build integration && unix

package clients

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"testing"

	"midge/test/certificate"
	"midge/test/process"
)

// mosquitto runs Debian's broker until the test ends, with a listener for each
// transport. It returns what scripts need to know of it, by variable.
func mosquitto(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	certificates(t, dir)
	if out, err := exec.Command("mosquitto_passwd", "-c", "-b", dir+"/passwords", "me", "secret").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
	}
	conf := "per_listener_settings true\npersistence false\nmax_queued_messages 0\n"
	secured := fmt.Sprintf("cafile %[1]s/ca.pem\ncertfile %[1]s/server.pem\nkeyfile %[1]s/server.key\n", dir)
	for name, settings := range map[string]string{
		"PORT": "", "TLS": secured, "MUTUAL": secured + "require_certificate true\n", "WS": "protocol websockets\n", "WSS": "protocol websockets\n" + secured,
	} {
		conf += "listener {" + name + "} 127.0.0.1\nallow_anonymous true\n" + settings
	}
	conf += "listener {LOCKED} 127.0.0.1\nallow_anonymous false\npassword_file " + dir + "/passwords\n"
	conf += "listener 0 " + dir + "/socket\nallow_anonymous true\n"
	_, known := process.Mosquitto(t, conf)
	maps.Copy(known, map[string]string{"SOCKET": dir + "/socket", "CA": dir + "/ca.pem", "CADIR": dir + "/authorities", "CERT": dir + "/client.pem", "KEY": dir + "/client.key"})
	return known
}

// certificates writes an authority, also to a directory of authorities, a
// server's certificate and a client's.
func certificates(t *testing.T, dir string) {
	t.Helper()
	authority := certificate.New(t)
	authority.Write(t, dir+"/ca.pem", dir+"/ca.key")
	if err := os.Mkdir(dir+"/authorities", 0o755); err != nil {
		t.Fatal(err)
	}
	authority.Write(t, dir+"/authorities/ca.pem", dir+"/ca.key")
	authority.Sign(t, "localhost").Write(t, dir+"/server.pem", dir+"/server.key")
	authority.Sign(t).Write(t, dir+"/client.pem", dir+"/client.key")
}
