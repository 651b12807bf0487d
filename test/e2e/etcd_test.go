//go:build integration && unix

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"midge/test/process"
)

// TestEtcd has a broker go by settings in Debian's etcd, which asks for a password: with the
// keys of the broker that was there before, with values that change, are wrong and go, and
// with an etcd that is killed, comes back, and has compacted what happened.
func TestEtcd(t *testing.T) {
	dir := t.TempDir()
	if status, _, errs := midge(t, dir, nil, "cert", "dev"); status != 0 {
		t.Fatal(errs)
	}
	certs := filepath.Join(dir, "certs")
	file := func(name string) string { return filepath.Join(certs, name) }
	e := process.StartEtcd(t, file("server.pem"), file("server-key.pem"), file("ca.pem"))
	for name, value := range map[string]string{
		"tls": "true", "cacert": file("ca.pem"), "serverCert": file("server.pem"), "serverKey": file("server-key.pem"),
		"listen": "127.0.0.1:0", "limits/packet_size": "2MiB", "sys/interval": "3s", "threads": "1",
	} {
		e.Control("put", "/iot/mqtt/"+name, value)
	}
	e.Control("user", "add", "root:root")
	e.Control("user", "grant-role", "root", "root")
	e.Control("role", "add", "reader")
	e.Control("role", "grant-permission", "reader", "--prefix=true", "read", "/iot/mqtt/")
	e.Control("user", "add", "midge:swordfish")
	e.Control("user", "grant-role", "midge", "reader")
	e.Control("auth", "enable")
	e.As("root:root")

	text := fmt.Sprintf("threads = 2\nlog.level = \"info\"\n[config.etcd]\nendpoints = [\"https://127.0.0.1:1\", %q]\nprefix = \"/iot/mqtt/\"\nca = %q\nuser = \"midge\"\npassword_file = \"secret\"\n", e.Endpoint, file("ca.pem"))
	for name, text := range map[string]string{"midge.toml": text, "secret": "swordfish\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	status, out, errs := midge(t, dir, []string{"MIDGE_SYS_INTERVAL=4s"}, "config", "show")
	for _, want := range []string{
		`listen = ["tls://127.0.0.1:0"]  # etcd /iot/mqtt/listen and etcd /iot/mqtt/tls`, "threads = 1  # etcd /iot/mqtt/threads",
		`packet_size = "2MiB"  # etcd /iot/mqtt/limits/packet_size`, `interval = "4s"  # MIDGE_SYS_INTERVAL`, "# etcd /iot/mqtt/serverCert",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("config show, status %d, lacks %s\n%s%s", status, want, out, errs)
		}
	}

	cmd := exec.Command(binary, "serve", "--memory")
	cmd.Dir = dir
	p := &broker{process.Serve(t, cmd), t}
	if !strings.Contains(p.Banner(), "tls://127.0.0.1:") {
		t.Errorf("no TLS in\n%s", p.Banner())
	}
	read := 0 // bytes of the log
	await := func(what string) {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			if at := strings.Index(p.Log()[read:], what); at >= 0 {
				read += at + len(what)
				return
			}
			if time.Now().After(end) {
				t.Fatalf("the log does not have %q after what it had", what)
			}
		}
	}
	e.Control("put", "/iot/mqtt/limits/packet_size", "3MiB")
	await(`limits.packet_size: \"2MiB\" is now \"3MiB\"`)
	e.Control("put", "/iot/mqtt/limits/packet_size", "much")
	await(`reload: what is wrong stays as it was" error="etcd /iot/mqtt/limits/packet_size: limits.packet_size: \"much\" is not a size`)
	e.Control("del", "/iot/mqtt/limits/packet_size")
	await(`limits.packet_size: \"3MiB\" is now \"1MiB\"`)

	e.Kill()
	await("etcd is away: the settings stay what they are")
	for _, optional := range []string{"false", "true"} {
		status, out, errs := midge(t, dir, []string{"MIDGE_CONFIG_ETCD_OPTIONAL=" + optional}, "config", "check")
		if optional == "false" && (status != 1 || strings.Count(errs, "connection refused") != 2) || optional == "true" && (status != 0 || !strings.Contains(out, "warning: etcd is away")) {
			t.Errorf("etcd is away, optional %s: status %d, %s%s", optional, status, out, errs)
		}
	}
	if !e.Restart() {
		t.Fatal("etcd does not start again")
	}
	for range 3 {
		e.Control("put", "/iot/mqtt/sys/interval", "5s")
	}
	revision := 0
	fields := e.Control("get", "/iot/mqtt/sys/interval", "--write-out", "json")
	if _, rest, ok := strings.Cut(fields, `"revision":`); !ok {
		t.Fatalf("no revision in %s", fields)
	} else if _, err := fmt.Sscan(rest[:strings.IndexByte(rest, ',')], &revision); err != nil {
		t.Fatal(err)
	}
	e.Control("compact", fmt.Sprint(revision))
	await("etcd is back")
	await(`sys.interval: \"3s\" is now \"5s\"`)
	e.Control("put", "/iot/mqtt/session/keep_alive", "60s")
	await(`session.keep_alive: \"0s\" is now \"1m0s\"`)

	if strings.Count(p.Log(), "etcd is away") != 1 {
		t.Error("that etcd is away is said more than once")
	}
	if all := out + p.Log() + p.Banner(); strings.Contains(all, "swordfish") {
		t.Error("the password is shown")
	}
	p.signal(syscall.SIGTERM)
	if status := p.wait(time.Minute); status != 0 {
		t.Errorf("status %d", status)
	}
}
