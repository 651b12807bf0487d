package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"midge/internal/app/apptest"
	"midge/internal/auth/passwordfile"
	"midge/internal/config"
	"midge/internal/packet"
)

// ask sends packets, and returns the next packet with its header.
func ask(t *testing.T, c net.Conn, r *bufio.Reader, sent []byte) []byte {
	t.Helper()
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 2) // no answer here is longer than 127 bytes
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// TestAccess lets clients in by a password file, and lets them do what an access
// list says, on both engines and in all versions.
func TestAccess(t *testing.T) {
	dir := t.TempDir()
	passwords, rules := filepath.Join(dir, "passwords"), filepath.Join(dir, "acl")
	e, err := passwordfile.Edit(passwords, true)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := passwordfile.Bcrypt.Hash([]byte("right"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Set("alice", hash); err != nil {
		t.Fatal(err)
	}
	if err := e.Save(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rules, []byte("allow user=alice publish a/%u\nallow anonymous publish b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, engine := range []string{"auto", "goroutine"} {
		for _, anonymous := range []string{"false", "true"} {
			address := apptest.Serve(t, config.Given{Key: "engine", Values: []string{engine}},
				config.Given{Key: "auth.password_file", Values: []string{passwords}}, config.Given{Key: "acl.file", Values: []string{rules}},
				config.Given{Key: "limits.connect_timeout", Values: []string{"5m"}}, // hashing waits for whatever else runs
				config.Given{Key: "allow_anonymous", Values: []string{anonymous}}, config.Given{Key: "auth.client_id", Values: []string{"%u-*"}})
			for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
				for _, tt := range []struct {
					user, password, id string
					want               packet.ReasonCode
				}{
					{"alice", "right", "alice-1", packet.Success},
					{"alice", "right", "bob-1", packet.ClientIdentifierNotValid},
					{"alice", "wrong", "alice-1", packet.BadUserNameOrPassword},
					{"bob", "right", "bob-1", packet.BadUserNameOrPassword},
					{"", "", "", packet.NotAuthorized},
				} {
					t.Run(fmt.Sprintf("%s/anonymous=%s/%v/%s %s as %s", engine, anonymous, v, tt.user, tt.password, tt.id), func(t *testing.T) {
						if tt.id == "" && v == packet.V31 {
							t.Skip("3.1 has no client without an identifier")
						}
						want, topic := tt.want, "a/alice"
						if tt.user == "" && anonymous == "true" {
							want, topic = packet.Success, "b"
						}
						c, err := net.Dial("tcp", address)
						if err != nil {
							t.Fatal(err)
						}
						defer c.Close()
						c.SetDeadline(time.Now().Add(5 * time.Minute))
						r := bufio.NewReader(c)
						connect := packet.Connect{Version: v, ClientID: []byte(tt.id), CleanStart: true}
						if tt.user != "" {
							connect.UserName, connect.Password = []byte(tt.user), []byte(tt.password)
						}
						code := byte(want)
						if v != packet.V5 {
							code, _ = want.ReturnCode()
						}
						if ack := ask(t, c, r, connect.Append(nil)); ack[3] != code {
							t.Fatalf("CONNACK % x, want code %d", ack, code)
						}
						if want != packet.Success || v != packet.V5 {
							return
						}
						for name, want := range map[string]packet.ReasonCode{topic: packet.NoMatchingSubscribers, "other": packet.NotAuthorized} {
							m := packet.Publish{Topic: []byte(name), QoS: 1, ID: 1}
							if ack := ask(t, c, r, m.Append(nil, v)); len(ack) < 5 || ack[4] != byte(want) {
								t.Errorf("publish to %s: % x, want %v", name, ack, want)
							}
						}
					})
				}
			}
		}
	}
}
