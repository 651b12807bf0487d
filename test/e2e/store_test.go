//go:build integration && unix

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"midge/internal/packet"
	"midge/internal/store/storetest"
)

// stored is a broker that has messages for a client that is away. It is killed;
// its directory and a configuration file that names it are returned.
func stored(t *testing.T) (dir, file string) {
	dir = filepath.Join(t.TempDir(), "data")
	file = filepath.Join(t.TempDir(), "midge.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "data_dir = %q\n", dir), 0o600); err != nil {
		t.Fatal(err)
	}
	p := serve(t, "--config", file)
	away := connect(t, p, packet.V311, "away", func(m *packet.Connect) { m.CleanStart = false })
	if code := away.subscribe("news/#", 1); code != 1 {
		t.Fatalf("SUBACK %v", code)
	}
	away.conn.Close()
	publisher := connect(t, p, packet.V5, "publisher", nil)
	for i := range 50 {
		publisher.publish(fmt.Sprintf("news/%d", i%5), fmt.Appendf(nil, "%d ä \"quoted\"", i), 1)
	}
	publisher.send((&packet.Publish{QoS: 1, Retain: true, ID: publisher.nextID(), Topic: []byte("kept"), Payload: []byte{0xff}}).Append(nil, packet.V5))
	var ack packet.Ack
	publisher.expect(packet.PUBACK, func(first byte, body []byte) error { return ack.Decode(packet.V5, first, body) })

	for _, command := range []string{"check", "stats", "export"} {
		status, out, errs := midge(t, p.Cmd.Dir, nil, "store", command, "--data-dir", dir)
		if want := fmt.Sprintf("another process uses it, with the id %d", p.Cmd.Process.Pid); status != 1 || out != "" || !strings.Contains(errs, "a broker runs on") || !strings.Contains(errs, want) {
			t.Errorf("store %s beside a broker: status %d\n%s%s", command, status, out, errs)
		}
	}
	status, _, errs := midge(t, p.Cmd.Dir, nil, "serve", "--listen", "127.0.0.1:0", "--config", file)
	if want := fmt.Sprintf("with the id %d; stop that one, or use another directory", p.Cmd.Process.Pid); status != 1 || !strings.Contains(errs, want) {
		t.Errorf("a second broker: status %d\n%s", status, errs)
	}
	p.signal(syscall.SIGKILL)
	p.wait(patience)
	return dir, file
}

// TestStore looks with all commands into the directory of a broker that was
// killed. They find what clients were promised, and change nothing.
func TestStore(t *testing.T) {
	dir, file := stored(t)
	before := storetest.Digest(t, dir)
	status, out, errs := midge(t, t.TempDir(), nil, "store", "check", "--config", file)
	if status != 0 || !strings.Contains(out, "directory "+dir+", format 2\n") || !strings.Contains(out, "\nno damage") {
		t.Errorf("check: status %d\n%s%s", status, out, errs)
	}
	status, out, errs = midge(t, t.TempDir(), []string{"MIDGE_CONFIG=" + file}, "store", "stats")
	if status != 0 || !strings.Contains(out, "waiting messages             50 ") || !strings.Contains(out, "\n\"away\"                                           50 ") {
		t.Errorf("stats: status %d\n%s%s", status, out, errs)
	}
	status, out, errs = midge(t, filepath.Dir(dir), nil, "store", "export", "--data-dir", "data")
	if status != 0 {
		t.Fatalf("export: status %d\n%s%s", status, out, errs)
	}
	n := 0
	for l := range strings.Lines(out) {
		var m struct {
			Kind, Topic, Payload string
			Encoding             string `json:"payload_encoding"`
			Receivers            []struct{ Client string }
		}
		if err := json.Unmarshal([]byte(l), &m); err != nil {
			t.Fatalf("%v: %s", err, l)
		}
		if m.Kind == "retained" {
			if m.Topic != "kept" || m.Payload != "/w==" || m.Encoding != "base64" {
				t.Errorf("retained: %s", l)
			}
			continue
		}
		if m.Topic != fmt.Sprintf("news/%d", n%5) || m.Payload != fmt.Sprintf("%d ä \"quoted\"", n) || len(m.Receivers) != 1 || m.Receivers[0].Client != "away" {
			t.Errorf("message %d: %s", n, l)
		}
		n++
	}
	if n != 50 || strings.Count(out, "\n") != 51 {
		t.Errorf("%d messages in %d lines, want 50 and a retained one", n, strings.Count(out, "\n"))
	}
	if after := storetest.Digest(t, dir); after != before {
		t.Errorf("the directory has changed from\n%sto\n%s", before, after)
	}
	if status, _, errs := midge(t, t.TempDir(), nil, "store", "export", "--kind", "waiting"); status != 2 || !strings.Contains(errs, "--kind waiting: it can be queued, retained, will") {
		t.Errorf("export of no kind: status %d\n%s", status, errs)
	}
}

// TestStoreDamaged damages the directory. The check says so; the next broker
// starts, and keeps the damaged database in quarantine.
func TestStoreDamaged(t *testing.T) {
	dir, file := stored(t)
	logs, err := filepath.Glob(filepath.Join(dir, "db", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("logs: %v, %v", logs, err)
	}
	name := logs[len(logs)-1]
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := 1500
	for at < len(b) && b[at] == 0 {
		at++
	}
	b[at] ^= 0x10
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, errs := midge(t, t.TempDir(), nil, "store", "check", "--config", file)
	if status != 1 || !strings.Contains(out, "  damaged: db/"+filepath.Base(name)) || !strings.Contains(errs, "is damaged: 1 files") {
		t.Errorf("check: status %d\n%s%s", status, out, errs)
	}
	p := serve(t, "--config", file)
	kept, err := filepath.Glob(filepath.Join(dir, "quarantine-*"))
	if err != nil || len(kept) != 1 || !strings.Contains(p.Banner(), "WAS DAMAGED: see "+kept[0]) {
		t.Errorf("quarantines %v, %v; banner\n%s", kept, err, p.Banner())
	}
	p.signal(syscall.SIGTERM)
	if status := p.wait(patience); status != 0 {
		t.Errorf("status %d", status)
	}
	if log := p.Log(); !strings.Contains(log, "store: damage") || !strings.Contains(log, "store salvaged") {
		t.Errorf("the log says\n%s", log)
	}
	if status, out, errs := midge(t, t.TempDir(), nil, "store", "check", "--config", file); status != 0 {
		t.Errorf("check of the salvaged one: status %d\n%s%s", status, out, errs)
	}
	if _, out, _ := midge(t, t.TempDir(), nil, "store", "export", "--config", file, "--kind", "queued"); strings.Count(out, "\n") < 45 {
		t.Errorf("one byte of a log was damaged, and these are left:\n%s", out)
	}
}
