package shell

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"midge/internal/client"
	"midge/internal/packet"
)

// request is what the options of a line ask for. Each command reads its part.
type request struct {
	client  string        // the client to act as; "": the current one
	timeout time.Duration // for the broker's answers, or for messages

	connect     client.Options
	will        client.Will
	askPassword bool
	tls         tlsFiles

	message       client.Message
	subscription  client.Subscription
	user          []client.UserProperty // of SUBSCRIBE and UNSUBSCRIBE
	disconnection client.Disconnection
	all, abort    bool // of disconnect
	none, lost    bool // of expect
}

// tlsFiles say whom to trust and as whom to appear.
type tlsFiles struct {
	ca, cert, key, serverName string
	insecure                  bool
}

// config returns base with what the files say on top; nil if neither says
// anything.
func (f tlsFiles) config(base *tls.Config) (*tls.Config, error) {
	if f == (tlsFiles{}) {
		return base, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if base != nil {
		config = base.Clone()
	}
	config.InsecureSkipVerify = config.InsecureSkipVerify || f.insecure
	if f.serverName != "" {
		config.ServerName = f.serverName
	}
	if f.ca != "" {
		text, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("read the authorities to trust: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read the authorities to trust: no certificate in %s", f.ca)
		}
	}
	if f.cert != "" || f.key != "" {
		if f.cert == "" || f.key == "" {
			return nil, errors.New("--cert and --key belong together")
		}
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("read certificate and key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// clientOption is the option of all commands that act as a client.
func clientOption() option {
	return option{
		name: "client", short: 'i', value: "ID", help: "act as this client rather than the current one",
		choices: func(s *Shell, _ string) []string { return s.clients.names() },
		set:     func(r *request, v string) error { r.client = v; return nil },
	}
}

func timeoutOption(help string) option {
	return option{
		name: "timeout", value: "TIME", help: help + ", such as 500ms or 1m; the default is 'set timeout'",
		set: func(r *request, v string) (err error) { r.timeout, err = parseTimeout(v); return err },
	}
}

func parseTimeout(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, errors.New("write a time such as 500ms, 10s or 1m")
	}
	return d, nil
}

// answerTimeout is the time limit of commands that the broker answers.
func answerTimeout() option { return timeoutOption("wait this long for the broker's answer") }

func qosOption(help string) option {
	return option{
		name: "qos", short: 'q', value: "0|1|2", help: help, choices: oneOf("0", "1", "2"),
		set: func(r *request, v string) error {
			r.subscription.QoS = 0
			if err := toNumber(&r.message.QoS, v, 0, 2); err != nil {
				return err
			}
			r.subscription.QoS = r.message.QoS
			return nil
		},
	}
}

// connectOptions are the options of connect.
func connectOptions() []option {
	return append([]option{
		{
			name: "address", short: 'a', value: "ADDRESS", help: "the broker: host, host:port, or mqtt, mqtts, ws or wss://host[:port][/path]",
			set: func(r *request, v string) error { r.connect.Address = withScheme(v); return nil },
		},
		{
			name: "proxy", value: "URL", help: "connect through this SOCKS5 proxy, such as socks5h://proxy:1080, which looks up the host", secret: true,
			set: func(r *request, v string) error { r.connect.Proxy = v; return nil },
		},
		{
			name: "protocol-version", short: 'V', value: "VERSION", help: "version of MQTT: 3.1, 3.1.1 or 5.0 (default 5.0)", choices: oneOf("3.1", "3.1.1", "5.0"),
			set: func(r *request, v string) (err error) { r.connect.Version, err = parseVersion(v); return err },
		},
		{
			name: "user", short: 'u', value: "NAME", help: "user name",
			set: func(r *request, v string) error { r.connect.Username, r.connect.HasUsername = v, true; return nil },
		},
		{
			name: "password", short: 'P', value: "TEXT", help: "password; a line with it doesn't get into the history", secret: true,
			set: func(r *request, v string) error {
				r.connect.Password, r.connect.HasPassword = []byte(v), true
				return nil
			},
		},
		{
			name: "ask-password", help: "ask for the password, which doesn't show while it is typed",
			set: func(r *request, v string) error { return toSwitch(&r.askPassword, v) },
		},
		{
			name: "auth-method", value: "METHOD", help: "show who this is by this method (5.0): the password is not sent, or it is a token", choices: oneOf("SCRAM-SHA-256", "OAUTH2-JWT"),
			set: func(r *request, v string) error { r.connect.AuthenticationMethod = v; return nil },
		},
		{
			name: "keep-session", short: 'c', help: "go on with the session of this client id (no clean start)",
			set: func(r *request, v string) error {
				keep := false
				err := toSwitch(&keep, v)
				r.connect.CleanStart = !keep
				return err
			},
		},
		{
			name: "session-expiry", short: 'x', value: "SECONDS", help: "keep the session this long after the connection; 4294967295 never ends (5.0)",
			set: func(r *request, v string) error { return toNumber(&r.connect.SessionExpiry, v, 0, math.MaxUint32) },
		},
		{
			name: "keep-alive", short: 'k', value: "SECONDS", help: "the broker may drop a client that is silent for 1.5 times this long; 0 is forever (default 60)",
			set: func(r *request, v string) error {
				seconds := 0
				err := toNumber(&seconds, v, 0, math.MaxUint16)
				r.connect.KeepAlive = time.Duration(seconds) * time.Second
				return err
			},
		},
		{
			name: "receive-maximum", value: "N", help: "take at most so many unacknowledged messages at once (5.0)",
			set: func(r *request, v string) error {
				return toNumber(&r.connect.ReceiveMaximum, v, 1, math.MaxUint16)
			},
		},
		{
			name: "maximum-packet-size", value: "BYTES", help: "take no larger packets (5.0)",
			set: func(r *request, v string) error {
				return toNumber(&r.connect.MaximumPacketSize, v, 1, math.MaxUint32)
			},
		},
		{
			name: "topic-alias-maximum", value: "N", help: "let the broker use so many topic aliases (5.0)",
			set: func(r *request, v string) error {
				return toNumber(&r.connect.TopicAliasMaximum, v, 0, math.MaxUint16)
			},
		},
		{
			name: "user-property", short: 'D', value: "KEY=VALUE", help: "user property of the connection; repeatable (5.0)",
			set: func(r *request, v string) error { return toProperty(&r.connect.UserProperties, v) },
		},
	}, append(append(willOptions(), tlsOptions()...), answerTimeout())...)
}

func willOptions() []option {
	return []option{
		{
			name: "will-topic", value: "TOPIC", help: "topic of the will, which the broker publishes when the client is lost",
			choices: func(s *Shell, _ string) []string { return s.topics.all() },
			set:     func(r *request, v string) error { r.will.Topic = v; return nil },
		},
		{
			name: "will-payload", value: "TEXT", help: "payload of the will",
			set: func(r *request, v string) error { r.will.Payload = []byte(v); return nil },
		},
		{
			name: "will-qos", value: "0|1|2", help: "QoS of the will", choices: oneOf("0", "1", "2"),
			set: func(r *request, v string) error { return toNumber(&r.will.QoS, v, 0, 2) },
		},
		{
			name: "will-retain", help: "retain the will",
			set: func(r *request, v string) error { return toSwitch(&r.will.Retain, v) },
		},
		{
			name: "will-delay", value: "SECONDS", help: "publish the will only after this time (5.0)",
			set: func(r *request, v string) error { return toNumber(&r.will.Delay, v, 0, math.MaxUint32) },
		},
		{
			name: "will-expiry", value: "SECONDS", help: "message expiry of the will (5.0)",
			set: func(r *request, v string) error { return toExpiry(&r.will.Expiry, v) },
		},
		{
			name: "will-content-type", value: "TEXT", help: "content type of the will (5.0)",
			set: func(r *request, v string) error { r.will.ContentType = v; return nil },
		},
		{
			name: "will-user-property", value: "KEY=VALUE", help: "user property of the will; repeatable (5.0)",
			set: func(r *request, v string) error { return toProperty(&r.will.UserProperties, v) },
		},
	}
}

func tlsOptions() []option {
	path := func(_ *Shell, prefix string) []string { return files(prefix) }
	return []option{
		{
			name: "cafile", value: "FILE", help: "trust the authorities in this PEM file instead of those of the system", choices: path,
			set: func(r *request, v string) error { r.tls.ca = v; return nil },
		},
		{
			name: "cert", value: "FILE", help: "certificate of the client, PEM", choices: path,
			set: func(r *request, v string) error { r.tls.cert = v; return nil },
		},
		{
			name: "key", value: "FILE", help: "key of the client's certificate, PEM", choices: path,
			set: func(r *request, v string) error { r.tls.key = v; return nil },
		},
		{
			name: "server-name", value: "NAME", help: "name that the broker's certificate must have, if it isn't the address",
			set: func(r *request, v string) error { r.tls.serverName = v; return nil },
		},
		{
			name: "insecure", help: "trust any certificate; for tests only",
			set: func(r *request, v string) error { return toSwitch(&r.tls.insecure, v) },
		},
	}
}

// messageOptions are what pub, packet save and expect have in common.
func messageOptions() []option {
	return []option{
		qosOption("quality of service"),
		{
			name: "retain", short: 'r', help: "retain the message",
			set: func(r *request, v string) error { return toSwitch(&r.message.Retain, v) },
		},
		{
			name: "expiry", short: 'e', value: "SECONDS", help: "message expiry interval (5.0)",
			set: func(r *request, v string) error { return toExpiry(&r.message.Expiry, v) },
		},
		{
			name: "content-type", value: "TEXT", help: "content type (5.0)",
			set: func(r *request, v string) error { r.message.ContentType = v; return nil },
		},
		{
			name: "response-topic", value: "TOPIC", help: "topic for the answer (5.0)",
			choices: func(s *Shell, _ string) []string { return s.topics.all() },
			set:     func(r *request, v string) error { r.message.ResponseTopic = v; return nil },
		},
		{
			name: "correlation", value: "TEXT", help: "correlation data (5.0)",
			set: func(r *request, v string) error { r.message.CorrelationData = []byte(v); return nil },
		},
		{
			name: "utf8", help: "say that the payload is UTF-8 (5.0)",
			set: func(r *request, v string) error {
				utf8 := false
				err := toSwitch(&utf8, v)
				format := byte(0)
				if utf8 {
					format = 1
				}
				r.message.PayloadFormat = &format
				return err
			},
		},
		{
			name: "user-property", short: 'D', value: "KEY=VALUE", help: "user property; repeatable (5.0)",
			set: func(r *request, v string) error { return toProperty(&r.message.UserProperties, v) },
		},
	}
}

// userOption is the user property of a packet that has no message.
func userOption(of string) option {
	return option{
		name: "user-property", short: 'D', value: "KEY=VALUE", help: "user property of the " + of + "; repeatable (5.0)",
		set: func(r *request, v string) error { return toProperty(&r.user, v) },
	}
}

// withScheme completes an address that is only a host, with or without a port.
func withScheme(address string) string {
	if strings.Contains(address, "://") {
		return address
	}
	return "mqtt://" + address
}

func parseVersion(text string) (packet.Version, error) {
	switch strings.TrimPrefix(text, "mqttv") {
	case "3.1", "31":
		return packet.V31, nil
	case "3.1.1", "311":
		return packet.V311, nil
	case "5.0", "5":
		return packet.V5, nil
	}
	return 0, errors.New("it can be 3.1, 3.1.1 or 5.0")
}

func toExpiry(to **uint32, value string) error {
	var seconds uint32
	err := toNumber(&seconds, value, 0, math.MaxUint32)
	*to = &seconds
	return err
}

func toProperty(to *[]client.UserProperty, value string) error {
	key, text, ok := strings.Cut(value, "=")
	if !ok {
		return errors.New("write KEY=VALUE")
	}
	*to = append(*to, client.UserProperty{Key: key, Value: text})
	return nil
}
