package app

import (
	"crypto/ed25519"
	"crypto/sha512"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"midge/internal/config"
	"midge/internal/packet"
)

// reloading is a broker that runs, whose settings change.
type reloading struct {
	*testing.T
	b    *Broker
	base []string
	tls  *tls.Config // of clients; nil: without a certificate
}

func newReloading(t *testing.T, settings ...string) *reloading {
	t.Helper()
	b, _ := started(t, settings...)
	r := &reloading{T: t, b: b, base: settings}
	r.connect(0, "first", "", "") // who is answered, is by a broker that has started
	return r
}

// reload has the settings be the first ones and these.
func (r *reloading) reload(settings ...string) error {
	return r.b.Reload(func() (*config.Loaded, error) {
		return loadedFrom(append(append([]string(nil), r.base...), settings...))
	})
}

func loadedFrom(settings []string) (*config.Loaded, error) {
	var given []config.Given
	for i := 0; i < len(settings); i += 2 {
		given = append(given, config.Given{Flag: "--set", Key: settings[i], Values: settings[i+1 : i+2]})
	}
	return config.Load(config.Sources{Flags: given})
}

// must reloads what has no fault.
func (r *reloading) must(settings ...string) {
	r.Helper()
	if err := r.reload(settings...); err != nil {
		r.Fatal(err)
	}
}

// session is a client of 5.0 that is connected.
type session struct {
	*testing.T
	net.Conn
}

// connect connects a client to a listener, and returns what CONNACK says.
func (r *reloading) connect(listener int, id, user, password string) (*session, packet.ReasonCode) {
	r.Helper()
	c, err := r.dial(r.b.listening[listener])
	if err != nil {
		r.Fatal(err)
	}
	connect := packet.Connect{Version: packet.V5, ClientID: []byte(id), CleanStart: true}
	if user != "" {
		connect.UserName = []byte(user)
	}
	if password != "" {
		connect.Password = []byte(password)
	}
	s := &session{r.T, c}
	return s, packet.ReasonCode(s.ask(connect.Append(nil), 0x20)[1])
}

// ask sends a packet, and returns the body of the answer.
func (s *session) ask(sent []byte, want byte) []byte {
	s.Helper()
	if _, err := s.Write(sent); err != nil {
		s.Fatal(err)
	}
	first, body, err := readPacket(s)
	if err != nil || first != want {
		s.Fatalf("got %#x % x, %v; want %#x", first, body, err, want)
	}
	return body
}

// publish returns what becomes of a message.
func (s *session) publish(topic string) packet.ReasonCode {
	s.Helper()
	m := packet.Publish{Topic: []byte(topic), QoS: 1, ID: 1}
	if body := s.ask(m.Append(nil, packet.V5), 0x40); len(body) > 2 {
		return packet.ReasonCode(body[2])
	}
	return packet.Success
}

// lives checks that the client is served.
func (s *session) lives() { s.Helper(); s.ask([]byte{0xC0, 0}, 0xD0) }

// files are those of authentication and access, of which there are two sorts.
type accessFiles struct{ passwords, more, rules, rules2, keys, wrong string }

func newAccessFiles(t *testing.T) (f accessFiles) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	user := func(name string) string { // as mosquitto_passwd writes it, which costs next to nothing
		salt := []byte("0123456789ab")
		hash := sha512.Sum512(append([]byte("right"), salt...))
		return name + ":$6$" + base64.StdEncoding.EncodeToString(salt) + "$" + base64.StdEncoding.EncodeToString(hash[:]) + "\n"
	}
	f.passwords, f.more = write("passwords", user("alice")), write("more", user("bob"))
	f.rules, f.rules2 = write("acl", "allow all a/%u\n"), write("acl2", "allow all b/#\n")
	f.keys, f.wrong = write("keys", secret), write("wrong", "allow nonsense\n\n")
	return f
}

const secret = "a secret that nobody guesses, of 32 bytes and more"

// token is one of somebody.
func token(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	claims["exp"] = time.Now().Add(time.Hour).Unix()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAccessChanges changes each setting of authentication and access of a running broker.
// Who is connected stays, and who comes goes by what is new.
func TestAccessChanges(t *testing.T) {
	const (
		in     = packet.Success
		wrong  = packet.BadUserNameOrPassword
		nobody = packet.NotAuthorized
	)
	f := newAccessFiles(t)
	hook, signed := newService(t)
	for _, tt := range []struct {
		name          string
		before, after []string
		user, secret  string
		was, is       packet.ReasonCode // of CONNECT
		publish       string            // by one that was connected, if it was let in
		may           packet.ReasonCode
	}{
		{"passwords are asked for", nil, []string{"auth.password_file", f.passwords}, "", "", in, nobody, "x", packet.NoMatchingSubscribers},
		{"no more", []string{"auth.password_file", f.passwords}, nil, "", "", nobody, in, "", 0},
		{"of one listener", nil, []string{"listener.a.auth.password_file", f.passwords}, "", "", in, nobody, "x", packet.NoMatchingSubscribers},
		{"of the other listener", nil, []string{"listener.b.auth.password_file", f.passwords}, "", "", in, in, "x", packet.NoMatchingSubscribers},
		{"another file", []string{"auth.password_file", f.passwords}, []string{"auth.password_file", f.more}, "alice", "right", in, wrong, "x", packet.NoMatchingSubscribers},
		{"and who is in it", []string{"auth.password_file", f.passwords}, []string{"auth.password_file", f.more}, "bob", "right", wrong, in, "", 0},
		{"anybody beside them", []string{"auth.password_file", f.passwords}, []string{"auth.password_file", f.passwords, "allow_anonymous", "true"}, "", "", nobody, in, "", 0},
		{"tokens", nil, []string{"auth.jwt_keys", f.keys}, "", "", in, nobody, "x", packet.NoMatchingSubscribers},
		{"another claim", []string{"auth.jwt_keys", f.keys}, []string{"auth.jwt_keys", f.keys, "auth.jwt_user", "name"}, "u", token(t, jwt.MapClaims{"name": "n"}), wrong, in, "", 0},
		{"client ids", []string{"auth.password_file", f.passwords}, []string{"auth.password_file", f.passwords, "auth.client_id", "%u"}, "alice", "right", in, packet.ClientIdentifierNotValid, "x", packet.NoMatchingSubscribers},
		{"certificates", nil, []string{"auth.certificate_user", "cn"}, "", "", in, nobody, "x", packet.NoMatchingSubscribers},
		{"rules", []string{"auth.password_file", f.passwords}, []string{"auth.password_file", f.passwords, "acl.file", f.rules}, "alice", "right", in, in, "a/alice", packet.NoMatchingSubscribers},
		{"other rules", []string{"acl.file", f.rules2}, []string{"acl.file", f.rules}, "", "", in, in, "b/x", nobody},
		{"other rules allow", []string{"acl.file", f.rules}, []string{"acl.file", f.rules2}, "", "", in, in, "b/x", packet.NoMatchingSubscribers},
		{"no rules", []string{"acl.file", f.rules}, nil, "", "", in, in, "x", packet.NoMatchingSubscribers},
		{"a service", nil, []string{"hook.auth_url", hook}, "alice", "wrong", in, wrong, "x", packet.NoMatchingSubscribers},
		{"a service lets in", nil, []string{"hook.auth_url", hook}, "alice", "right", in, in, "secret", packet.NoMatchingSubscribers},
		{"no service", []string{"hook.auth_url", hook}, nil, "alice", "wrong", wrong, in, "", 0},
		{"a service about topics goes", []string{"hook.acl_url", hook}, nil, "", "", in, in, "secret", nobody},
		{"another time", []string{"hook.acl_url", hook}, []string{"hook.acl_url", hook, "hook.timeout", "1m"}, "", "", in, in, "x", packet.NoMatchingSubscribers},
		{"a service that is not there", nil, []string{"hook.auth_url", "http://127.0.0.1:1"}, "alice", "right", in, packet.ServerUnavailable, "x", packet.NoMatchingSubscribers},
		{"or the next", nil, []string{"hook.auth_url", "http://127.0.0.1:1", "hook.unavailable", "next", "auth.password_file", f.passwords}, "alice", "right", in, in, "", 0},
		{"no keys by URL", nil, []string{"auth.jwt_keys", hook}, "u", token(t, jwt.MapClaims{"sub": "n"}), in, packet.ServerBusy, "", 0},
		{"keys by URL", nil, []string{"auth.jwt_keys", hook + "/keys"}, "u", signed, in, in, "", 0},
		{"keys by URL, a token of others", nil, []string{"auth.jwt_keys", hook + "/keys"}, "u", token(t, jwt.MapClaims{"sub": "n"}), in, wrong, "", 0},
		{"rules of one listener", []string{"acl.file", f.rules}, []string{"acl.file", f.rules, "listener.a.acl.file", f.rules2}, "", "", in, in, "b/x", packet.NoMatchingSubscribers},
	} {
		for _, engine := range []string{"epoll", "goroutine"} {
			t.Run(tt.name+"/"+engine, func(t *testing.T) {
				base := []string{"engine", engine, "durability", "none", "listener.a.address", "127.0.0.1:0", "listener.b.address", "127.0.0.1:0"}
				r := newReloading(t, append(base, tt.before...)...)
				r.base = base
				early, code := r.connect(0, "alice", tt.user, tt.secret)
				if code != tt.was {
					t.Errorf("before: %v, want %v", code, tt.was)
				}
				r.must(tt.after...)
				if _, code := r.connect(0, "other", tt.user, tt.secret); code != tt.is {
					t.Errorf("after: %v, want %v", code, tt.is)
				}
				if tt.publish == "" {
					return
				}
				if code := early.publish(tt.publish); code != tt.may {
					t.Errorf("who is connected publishes to %s: %v, want %v", tt.publish, code, tt.may)
				}
			})
		}
	}
}

// newService is an HTTP service that lets alice in, and nobody publish to secret. /keys has the key of
// a token.
func newService(t *testing.T) (url, signed string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err = jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "n", "exp": time.Now().Add(time.Hour).Unix()}).SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
			return
		}
		var q struct{ Action, User, Password, Topic string }
		json.NewDecoder(r.Body).Decode(&q)
		result := "deny"
		if q.Action == "connect" && q.User == "alice" && q.Password == "right" || q.Action != "connect" && q.Topic != "secret" {
			result = "allow"
		}
		fmt.Fprintf(w, `{"result":%q}`, result)
	}))
	t.Cleanup(s.Close)
	return s.URL, signed
}

// TestAccessFaults changes settings so that something is wrong: nothing of the change holds.
func TestAccessFaults(t *testing.T) {
	f := newAccessFiles(t)
	base := []string{"durability", "none", "listener.a.address", "127.0.0.1:0", "limits.packet_size", "1000"}
	for key, name := range map[string]string{
		"auth.password_file": filepath.Join(t.TempDir(), "none"), "auth.jwt_keys": f.wrong, "acl.file": f.wrong,
	} {
		t.Run(key, func(t *testing.T) {
			r := newReloading(t, base...)
			before := r.b.access
			if err := r.reload("limits.packet_size", "2000", "auth.client_id", "", "auth.certificate_user", "cn", key, name); err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("error %v", err)
			}
			if r.b.access != before || r.b.reloads.inForce.Limits.PacketSize != 1000 {
				t.Error("a part of it holds")
			}
			if _, code := r.connect(0, "c", "", ""); code != packet.Success {
				t.Error(code)
			}
			if n := r.b.core.Counters(); n.ReloadsFailed != 1 || n.Reloads != 0 {
				t.Errorf("counted %d and %d failed", n.Reloads, n.ReloadsFailed)
			}
			// A file that was good once stays in force, although it is broken by now, while other settings change.
			good := map[string]string{"auth.password_file": f.passwords, "auth.jwt_keys": f.keys, "acl.file": f.rules}[key]
			text, err := os.ReadFile(good)
			if err != nil {
				t.Fatal(err)
			}
			defer os.WriteFile(good, text, 0o600)
			r.must(key, good)
			if err := os.Remove(good); err != nil {
				t.Fatal(err)
			}
			r.must(key, good, "limits.packet_size", "2000")
			if err := r.b.ReloadAccess(); err == nil || !strings.Contains(err.Error(), good) {
				t.Errorf("a broken file: %v", err)
			}
			if n := r.b.core.Counters(); n.BrokenAccess != 1 {
				t.Errorf("counted %d broken files", n.BrokenAccess)
			}
			if r.b.reloads.inForce.Limits.PacketSize != 2000 {
				t.Error("the other setting does not hold")
			}
		})
	}
}
