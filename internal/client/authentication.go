package client

import (
	"errors"
	"fmt"

	"github.com/eclipse/paho.golang/paho"

	"midge/internal/packet"
	"midge/internal/scram"
)

// MethodJWT is the Authentication Method by which a token is shown.
const MethodJWT = "OAUTH2-JWT"

// authentication is the client's part in an enhanced authentication (MQTT 5.0 section
// 4.12). For methods that it does not know, it answers each AUTH with the data of the
// options: those with one step need no more.
type authentication struct {
	o     *Options
	scram *scram.Client // of SCRAM-SHA-256
	stop  func()        // ends the connection
	wrong chan error    // why it was stopped
}

// authenticate begins one. Where the password is what is shown, or proved to be known,
// CONNECT has no user name and password.
func authenticate(o *Options, connect *paho.Connect, stop func()) *authentication {
	a := &authentication{o: o, stop: stop, wrong: make(chan error, 1)}
	if o.AuthenticationData != nil {
		return a
	}
	switch o.AuthenticationMethod {
	case scram.Method:
		a.scram = scram.NewClient(o.Username, o.Password)
		connect.Properties.AuthData = a.scram.First()
	case MethodJWT:
		connect.Properties.AuthData = o.Password
	default:
		return a
	}
	connect.UsernameFlag, connect.Username, connect.PasswordFlag, connect.Password = false, "", false, nil
	return a
}

// Authenticated implements paho.Auther.
func (a *authentication) Authenticated() {}

// Authenticate implements paho.Auther: it answers an AUTH of the broker.
func (a *authentication) Authenticate(asked *paho.Auth) *paho.Auth {
	data := a.o.AuthenticationData
	if a.scram != nil {
		var challenge []byte
		if asked.Properties != nil {
			challenge = asked.Properties.AuthData
		}
		var err error
		if data, err = a.scram.Final(challenge); err != nil {
			select {
			case a.wrong <- fmt.Errorf("%s: %w", scram.Method, err):
			default:
			}
			a.stop()
		}
	}
	return &paho.Auth{ReasonCode: byte(packet.ContinueAuthentication), Properties: &paho.AuthProperties{AuthMethod: a.o.AuthenticationMethod, AuthData: data}}
}

// verify looks at the end of it in CONNACK: with SCRAM the broker shows that it knows
// the password, too.
func (a *authentication) verify(ack *paho.Connack) error {
	if a.scram == nil {
		return nil
	}
	if !a.scram.Answered() || ack.Properties == nil {
		return fmt.Errorf("%s: %w", scram.Method, errors.New("the broker has asked for nothing"))
	}
	if err := a.scram.Verify(ack.Properties.AuthData); err != nil {
		return fmt.Errorf("%s: %w", scram.Method, err)
	}
	return nil
}
