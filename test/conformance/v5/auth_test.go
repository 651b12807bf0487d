package v5

import (
	"log/slog"
	"path/filepath"
	"testing"

	"midge/internal/auth"
	"midge/internal/auth/passwordfile"
	"midge/internal/packet"
	"midge/internal/scram"
	"midge/test/conformance/mqtt3"
	. "midge/test/conformance/mqtt5"
)

// asking starts a server with users and the method SCRAM-SHA-256. alice's password is
// wonderland, and bob's builder.
func asking(t *testing.T) (address string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "passwords")
	e, err := passwordfile.Edit(name, true)
	if err != nil {
		t.Fatal(err)
	}
	for user, password := range map[string]string{"alice": "wonderland", "bob": "builder"} {
		hash, err := passwordfile.SCRAM.Hash([]byte(password))
		if err == nil {
			_, err = e.Set(user, hash)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Save(); err != nil {
		t.Fatal(err)
	}
	f, err := passwordfile.Open(passwordfile.Options{Name: name, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	name, by := f.Method()
	return mqtt3.Serve(t, mqtt3.Tuned{Authenticator: &auth.Chain{Links: []auth.Link{auth.Anonymous{}}, Methods: map[string]auth.Link{name: by}}})
}

// method are the properties that an AUTH or CONNECT has.
func method(name string, data []byte) []byte { return Properties(0x15, name, 0x16, string(data)) }

// challenge sends the first message, in the packet that begins with it, and returns the
// answer to the server's.
func challenge(t *testing.T, c *Client, s *scram.Client, first []byte) (answer []byte) {
	t.Helper()
	c.Send(first)
	var a packet.Auth
	c.Decode(packet.AUTH, &a)
	if a.Code != packet.ContinueAuthentication || string(a.Properties.AuthMethod) != scram.Method {
		t.Fatalf("AUTH %v with the method %q", a.Code, a.Properties.AuthMethod)
	}
	answer, err := s.Final(a.Properties.AuthData)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func hello(s *scram.Client) []byte {
	return connectPacket(cleanStart, method(scram.Method, s.First()), unique())
}

// signIn connects alice, and returns what the server shows with CONNACK.
func signIn(t *testing.T, address string) (c *Client) {
	t.Helper()
	c = Dial(t, address)
	s := scram.NewClient("alice", []byte("wonderland"))
	answer := challenge(t, c, s, hello(s))
	c.Send(Packet(AUTH, 0x18, method(scram.Method, answer)))
	c.Connack = c.ExpectConnack(packet.Success)
	if err := s.Verify(c.Connack.Properties.AuthData); err != nil {
		t.Error(err)
	}
	return c
}

func TestAuthentication(t *testing.T) {
	address := asking(t)
	// asked is a connection that was asked something, and its answer.
	asked := func(t *testing.T, password string) (*Client, []byte) {
		c := Dial(t, address)
		s := scram.NewClient("alice", []byte(password))
		return c, challenge(t, c, s, hello(s))
	}
	again := func(user, password string) func(t *testing.T) (*Client, *scram.Client, []byte) {
		return func(t *testing.T) (*Client, *scram.Client, []byte) {
			c := signIn(t, address)
			s := scram.NewClient(user, []byte(password))
			return c, s, challenge(t, c, s, Packet(AUTH, 0x19, method(scram.Method, s.First())))
		}
	}
	refused := func(code packet.ReasonCode, packets ...[]byte) func(*testing.T) {
		return func(t *testing.T) {
			c, _ := asked(t, "wonderland")
			c.Send(packets...)
			c.ExpectRefused(code)
		}
	}
	ended := func(code packet.ReasonCode, packets ...[]byte) func(*testing.T) {
		return func(t *testing.T) {
			c := signIn(t, address)
			c.Send(packets...)
			c.ExpectDisconnect(code)
		}
	}
	run(t, []test{
		{"v5/MQTT-3.1.2-30/PINGREQ before CONNACK", refused(packet.ProtocolError, Packet(PINGREQ))},
		{"v5/MQTT-3.1.2-30/DISCONNECT before CONNACK", func(t *testing.T) {
			c, _ := asked(t, "wonderland")
			c.Send(Packet(DISCONNECT))
			c.ExpectEnd()
		}},
		{"v5/MQTT-4.12.0-1/a method of another server", func(t *testing.T) {
			c := Dial(t, address)
			c.Send(connectPacket(cleanStart, method("SCRAM-SHA-1", []byte("n,,n=alice,r=x")), unique()))
			c.ExpectRefused(packet.BadAuthenticationMethod)
		}},
		{"v5/MQTT-4.12.0-2/AUTH has 0x18", func(t *testing.T) { asked(t, "wonderland") }},
		{"v5/MQTT-4.12.0-3/AUTH with 0x19 before CONNACK", refused(packet.ProtocolError, Packet(AUTH, 0x19, method(scram.Method, []byte("n,,n=alice,r=x"))))},
		{"v5/MQTT-4.12.0-3/AUTH with Success before CONNACK", refused(packet.ProtocolError, Packet(AUTH, 0, method(scram.Method, nil)))},
		{"v5/MQTT-4.12.0-3/AUTH with 0x18 that nobody asked for", ended(packet.ProtocolError, Packet(AUTH, 0x18, method(scram.Method, nil)))},
		{"v5/MQTT-4.12.0-4/a wrong password", func(t *testing.T) {
			c, answer := asked(t, "x")
			c.Send(Packet(AUTH, 0x18, method(scram.Method, answer)))
			c.ExpectRefused(packet.BadUserNameOrPassword)
		}},
		{"v5/MQTT-4.12.0-5/CONNACK has the method", func(t *testing.T) {
			c := signIn(t, address)
			if got := string(c.Connack.Properties.AuthMethod); got != scram.Method {
				t.Errorf("the method of CONNACK is %q", got)
			}
			c.Ping()
		}},
		{"v5/MQTT-4.12.0-5/another method in AUTH", refused(packet.ProtocolError, Packet(AUTH, 0x18, method("x", nil)))},
		{"v5/MQTT-4.12.0-6/no method, no AUTH, although the server has one", func(t *testing.T) {
			c := Connect(t, address, packet.Connect{CleanStart: true, ClientID: []byte(unique())})
			if c.Connack.Properties.Has(packet.PropAuthMethod) {
				t.Error("CONNACK has an authentication method")
			}
			c.Ping()
		}},
		{"v5/MQTT-4.12.0-7/AUTH without method in CONNECT, although the server has one", func(t *testing.T) {
			c := Connect(t, address, packet.Connect{CleanStart: true, ClientID: []byte(unique())})
			c.Send(Packet(AUTH, 0x19, method(scram.Method, []byte("n,,n=alice,r=x"))))
			c.ExpectDisconnect(packet.ProtocolError)
		}},
		{"v5/MQTT-4.12.1-1/another method", ended(packet.ProtocolError, Packet(AUTH, 0x19, method("x", nil)))},
		{"v5/MQTT-4.12.1-1/the same method", func(t *testing.T) {
			c, s, answer := again("alice", "wonderland")(t)
			c.Ping() // messages go on
			c.Send(Packet(AUTH, 0x18, method(scram.Method, answer)))
			var a packet.Auth
			c.Decode(packet.AUTH, &a)
			if err := s.Verify(a.Properties.AuthData); err != nil || a.Code != packet.Success || string(a.Properties.AuthMethod) != scram.Method {
				t.Errorf("AUTH %+v, %v", a, err)
			}
			c.Ping()
		}},
		{"v5/MQTT-4.12.1-2/a wrong password", func(t *testing.T) {
			c, _, answer := again("alice", "x")(t)
			c.Send(Packet(AUTH, 0x18, method(scram.Method, answer)))
			c.ExpectDisconnect(packet.NotAuthorized)
		}},
		{"v5/MQTT-4.12.1-2/another user", func(t *testing.T) {
			c, _, answer := again("bob", "builder")(t)
			c.Send(Packet(AUTH, 0x18, method(scram.Method, answer)))
			c.ExpectDisconnect(packet.NotAuthorized)
		}},
	})
}
