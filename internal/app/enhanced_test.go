package app_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"midge/internal/app/apptest"
	"midge/internal/auth/passwordfile"
	"midge/internal/client"
	"midge/internal/config"
	"midge/internal/packet"
	"midge/internal/scram"
)

// passwordsOf writes a password file of one user with credentials for SCRAM.
func passwordsOf(t *testing.T, user, password string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "passwords")
	e, err := passwordfile.Edit(name, true)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := passwordfile.SCRAM.Hash([]byte(password))
	if err == nil {
		_, err = e.Set(user, hash)
	}
	if err := errors.Join(err, e.Save()); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestSCRAM lets a client in by SCRAM-SHA-256 that does not send its password, on both
// engines, in memory and with a session on disk.
func TestSCRAM(t *testing.T) {
	passwords := passwordsOf(t, "alice", "wonderland")
	for _, engine := range []string{"auto", "goroutine"} {
		for _, durable := range []bool{false, true} {
			settings := []config.Given{{Key: "engine", Values: []string{engine}}, {Key: "auth.password_file", Values: []string{passwords}}}
			if durable {
				settings = append(settings, config.Given{Key: "durability", Values: []string{"commit"}}, config.Given{Key: "data_dir", Values: []string{t.TempDir()}})
			}
			address := apptest.Serve(t, settings...)
			for _, tt := range []struct {
				user, password, method string
				code                   packet.ReasonCode
			}{
				{"alice", "wonderland", scram.Method, packet.Success},
				{"alice", "Wonderland", scram.Method, packet.BadUserNameOrPassword},
				{"bob", "wonderland", scram.Method, packet.BadUserNameOrPassword},
				{"alice", "wonderland", "SCRAM-SHA-1", packet.BadAuthenticationMethod},
				{"alice", "wonderland", client.MethodJWT, packet.BadAuthenticationMethod},
				{"alice", "wonderland", "", packet.Success},
			} {
				t.Run(fmt.Sprintf("%s/durable=%t/%s %s by %s", engine, durable, tt.user, tt.password, tt.method), func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
					defer cancel()
					messages := make(chan client.Message, 1)
					c, err := client.Connect(ctx, client.Options{
						Address: "mqtt://" + address, ClientID: "c", SessionExpiry: 60, Username: tt.user, Password: []byte(tt.password),
						AuthenticationMethod: tt.method, Received: func(m client.Message) { messages <- m },
					})
					var refused *client.Refused
					switch {
					case tt.code == packet.Success && err != nil:
						t.Fatal(err)
					case tt.code != packet.Success:
						if !errors.As(err, &refused) || refused.Reason != tt.code {
							t.Errorf("%v, want %v", err, tt.code)
						}
						return
					}
					defer c.Close()
					if _, err := c.Subscribe(ctx, []client.Subscription{{Filter: "t", QoS: 1}}); err != nil {
						t.Fatal(err)
					}
					if _, err := c.Publish(ctx, client.Message{Topic: "t", QoS: 1}); err != nil {
						t.Fatal(err)
					}
					select {
					case <-messages:
					case <-ctx.Done():
						t.Error("no message")
					}
				})
			}
		}
	}
}

// TestTokenAgain shows a token by AUTH, and then another one on the same connection.
func TestTokenAgain(t *testing.T) {
	secret := []byte("a secret of more than thirty-two bytes")
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	token := func(user string) []byte {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": user, "exp": time.Now().Add(time.Hour).Unix()}).SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		return []byte(text)
	}
	for _, engine := range []string{"auto", "goroutine"} {
		address := apptest.Serve(t, config.Given{Key: "engine", Values: []string{engine}}, config.Given{Key: "auth.jwt_keys", Values: []string{keys}})
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Minute))
		r := bufio.NewReader(c)
		of := func(user string) (p packet.Properties) {
			p.AuthMethod, p.AuthData = []byte(client.MethodJWT), token(user)
			p.Set(packet.PropAuthMethod, packet.PropAuthData)
			return p
		}
		if ack := ask(t, c, r, (&packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true, Properties: of("alice")}).Append(nil)); ack[0] != 0x20 || ack[3] != 0 {
			t.Fatalf("CONNACK % x", ack)
		}
		again := func(user string) []byte {
			return ask(t, c, r, (&packet.Auth{Code: packet.Reauthenticate, Properties: of(user)}).Append(nil, packet.V5))
		}
		if got := again("alice"); got[0] != 0xf0 || got[2] != byte(packet.Success) {
			t.Errorf("alice again: % x", got)
		}
		if got := again("bob"); got[0] != 0xe0 || got[2] != byte(packet.NotAuthorized) {
			t.Errorf("bob on her connection: % x", got)
		}
	}
}
