package clients

import (
	"crypto/tls"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"midge/internal/cli/command"
	"midge/internal/client"
	"midge/internal/packet"
)

// parseConnect reads the flags of a command that sends PUBLISH and DISCONNECT.
func parseConnect(args ...string) (o client.Options, topic string, m client.Message, d client.Disconnection, err error) {
	top, cmd := &cobra.Command{Use: "midge"}, &cobra.Command{Use: "pub", Run: func(*cobra.Command, []string) {}}
	top.AddCommand(cmd)
	c := addConnectFlags(cmd.Flags())
	cmd.Flags().BoolP("debug", "d", false, "")
	joined := command.JoinProperties(top, append([]string{"pub"}, args...))
	if err = cmd.ParseFlags(joined[1:]); err != nil {
		return
	}
	o, topic, err = c.options(map[string]stage{
		"publish":    {message: &m, user: &m.UserProperties},
		"disconnect": {disconnect: &d, user: &d.UserProperties},
	})
	return o, topic, m, d, err
}

// TestConnectFlags proves what the flags of connecting mean, one by one.
func TestConnectFlags(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\r\nmore"), 0o600); err != nil {
		t.Fatal(err)
	}
	type options = client.Options
	for _, tt := range []struct {
		args  string
		want  func(o *options)
		topic string
	}{
		{"", func(*options) {}, ""},
		{"-h a", func(o *options) { o.Address = "mqtt://a" }, ""},
		{"--host=a -p 1884", func(o *options) { o.Address = "mqtt://a:1884" }, ""},
		{"-h ::1", func(o *options) { o.Address = "mqtt://[::1]" }, ""},
		{"-h ::1 -p 2", func(o *options) { o.Address = "mqtt://[::1]:2" }, ""},
		{"-h a -p 8883", func(o *options) { o.Address = "mqtts://a:8883" }, ""},
		{"-h a --ws", func(o *options) { o.Address = "ws://a/mqtt" }, ""},
		{"-h a --ws --ws-path x -p 9001", func(o *options) { o.Address = "ws://a:9001/x" }, ""},
		{"--unix /tmp/s", func(o *options) { o.Address = "unix:///tmp/s" }, ""},
		{"-L mqtt://u:p%40@b:1/x/y", func(o *options) {
			o.Address, o.Username, o.HasUsername, o.Password, o.HasPassword = "mqtt://b:1", "u", true, []byte("p@"), true
		}, "x/y"},
		{"-L mqtts://b/x/#", func(o *options) { o.Address = "mqtts://b" }, "x/#"},
		{"-L ws://b/x", func(o *options) { o.Address = "ws://b/x" }, ""},
		{"-A 127.0.0.2", func(o *options) { o.LocalAddress = "127.0.0.2" }, ""},
		{"--proxy socks5h://me:secret@b:1", func(o *options) { o.Proxy = "socks5h://me:secret@b:1" }, ""},
		{"--nodelay", func(*options) {}, ""},
		{"-V mqttv311", func(o *options) { o.Version = packet.V311 }, ""},
		{"-V 3.1.1", func(o *options) { o.Version = packet.V311 }, ""},
		{"-V 31 -i a", func(o *options) { o.Version, o.ClientID = packet.V31, "a" }, ""},
		{"-i a -c", func(o *options) { o.ClientID, o.CleanStart, o.SessionExpiry = "a", false, math.MaxUint32 }, ""},
		{"-i a -c -x 60", func(o *options) { o.ClientID, o.CleanStart, o.SessionExpiry = "a", false, 60 }, ""},
		{"-x -1", func(o *options) { o.SessionExpiry = math.MaxUint32 }, ""},
		{"-x ∞", func(o *options) { o.SessionExpiry = math.MaxUint32 }, ""},
		{"-k 5", func(o *options) { o.KeepAlive = 5 * time.Second }, ""},
		{"-u me -P secret", func(o *options) {
			o.Username, o.HasUsername, o.Password, o.HasPassword = "me", true, []byte("secret"), true
		}, ""},
		{"-u me -P secret --auth-method SCRAM-SHA-256", func(o *options) {
			o.Username, o.HasUsername, o.Password, o.HasPassword, o.AuthenticationMethod = "me", true, []byte("secret"), true, "SCRAM-SHA-256"
		}, ""},
		{"-u me --pw-file " + secret, func(o *options) {
			o.Username, o.HasUsername, o.Password, o.HasPassword = "me", true, []byte("s3cret"), true
		}, ""},
		{"--will-topic w --will-payload gone --will-qos 1 --will-retain -D will will-delay-interval 3 -D will content-type x", func(o *options) {
			o.Will = &client.Will{Message: client.Message{Topic: "w", Payload: []byte("gone"), QoS: 1, Retain: true, ContentType: "x"}, Delay: 3}
		}, ""},
		{"-D CONNECT Receive-Maximum 20 -D connect User-Property a b --property connect user-property a c", func(o *options) {
			o.ReceiveMaximum, o.UserProperties = 20, []client.UserProperty{{Key: "a", Value: "b"}, {Key: "a", Value: "c"}}
		}, ""},
		{"-D connect authentication-method m -D connect authentication-data d -D connect maximum-packet-size 9 -D connect topic-alias-maximum 8 -D connect session-expiry-interval 7 -D connect request-problem-information 0 -D connect request-response-information 1", func(o *options) {
			o.AuthenticationMethod, o.AuthenticationData, o.MaximumPacketSize, o.TopicAliasMaximum = "m", []byte("d"), 9, 8
			o.SessionExpiry, o.WithoutProblemInformation, o.RequestResponseInformation = 7, true, true
		}, ""},
	} {
		t.Run(tt.args, func(t *testing.T) {
			want := options{Address: "mqtt://localhost", Version: packet.V5, CleanStart: true, KeepAlive: time.Minute, Password: []byte{}}
			tt.want(&want)
			got, topic, _, _, err := parseConnect(strings.Fields(tt.args)...)
			if err != nil || !reflect.DeepEqual(got, want) || topic != tt.topic {
				t.Errorf("%+v %q %v\nwant %+v %q", got, topic, err, want, tt.topic)
			}
		})
	}
}

// TestConnectFlagsMisused proves that what makes no sense is told.
func TestConnectFlagsMisused(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-V 4.0", "-V 4.0: write 5, 311 or 31"},
		{"-c", "-c keeps a session, which needs the name that -i gives"},
		{"-i a -I b", "-i and -I exclude each other"},
		{"-x soon", "-x soon: it is a whole number of up to 4294967295, or -1"},
		{"--will-payload x", "--will-payload needs --will-topic"},
		{"--will-topic x --will-qos 3", "--will-qos 3: it is 0, 1 or 2"},
		{"-L nowhere", "-L nowhere: write mqtt(s)://"},
		{"-L mqtt://a -p 3", "-L has host and port: leave out -h and -p"},
		{"-L mqtt://a --insecure", "-L mqtt://a: it has no TLS, which other flags ask for; write mqtts://"},
		{"--cafile no-such-file", "read authorities: open no-such-file: "},
		{"--cafile connect.go", "read authorities: no certificate in connect.go"},
		{"--cert a", "--cert and --key belong together"},
		{"--cert a --key b", "--cert a --key b: open a: "},
		{"--pw-file no-such-file", "--pw-file: open no-such-file: "},
		{"--tls-version tlsv1", "--tls-version tlsv1: write tlsv1.3, tlsv1.2 or tlsv1.1"},
		{"--ciphers HIGH:!aNULL", "--ciphers: HIGH: not a cipher suite that this program has"},
		{"--will-topic w/+", "--will-topic w/+: wildcard '+' at byte 2"},
		{"-L foo://a/t", "address foo://a: the scheme is none of mqtt, mqtts, ws, wss, unix"},
		{"--proxy localhost:1080", "proxy: write socks5h://[user[:password]@]host[:port]"},
		{"--unix /s --proxy socks5h://a", "address unix:///s: a socket of this machine is not reached through a proxy"},
		{"-A lo", "local address lo: not an IP address"},
		{"-V 311 -D connect receive-maximum 1", "-D needs MQTT 5.0, and -V asks for another"},
		{"-D connect receive-maximum", "-D connect receive-maximum: write command identifier value, or command user-property key value"},
		{"-D connect receive-maximum 70000", "-D connect receive-maximum 70000: it is a whole number of up to 65535"},
		{"-D connect", "-D connect: write command identifier value, or command user-property key value"},
		{"-D publish user-property k", "-D publish user-property k: write command identifier value, or command user-property key value"},
		{"-D connect receive-maximum 0", "-D connect receive-maximum 0: it is 1 or more"},
		{"-D connect maximum-packet-size 0", "-D connect maximum-packet-size 0: it is 1 or more"},
		{"-D connect content-type x", "-D connect content-type x: the packet has no such property"},
		{"-D publish topic x", "-D publish topic x: the packet has no such property"},
		{"-D subscribe user-property a b", "-D subscribe user-property a b: this command sends no packet subscribe with properties"},
		{"-D will content-type a", "-D will content-type a: this command sends no packet will with properties"},
		{"-D publish payload-format-indicator 2", "it is 0 or 1"},
		{"-D disconnect content-type 2", "the packet has no such property"},
	} {
		if _, _, _, _, err := parseConnect(strings.Fields(tt.args)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v\nwant %s", tt.args, err, tt.want)
		}
	}
}

// TestMessageProperties proves that -D reaches PUBLISH and DISCONNECT, and that
// words of other flags are not taken for its own.
func TestMessageProperties(t *testing.T) {
	_, _, m, d, err := parseConnect("-dD", "publish response-topic a", "-D", "publish", "user-property", "-D", "x y", "-P", "-D", "-D", "publish", "correlation-data", "a b",
		"-D", "publish", "topic-alias", "3", "-D", "publish", "payload-format-indicator", "1", "-D", "disconnect", "session-expiry-interval", "9", "-D", "disconnect", "reason-string", "so long")
	format, expiry := byte(1), uint32(9)
	wantMessage := client.Message{ResponseTopic: "a", UserProperties: []client.UserProperty{{Key: "-D", Value: "x y"}}, CorrelationData: []byte("a b"), TopicAlias: 3, PayloadFormat: &format}
	wantDisconnect := client.Disconnection{SessionExpiry: &expiry, ReasonString: "so long"}
	if err != nil || !reflect.DeepEqual(m, wantMessage) || !reflect.DeepEqual(d, wantDisconnect) {
		t.Errorf("%v\n%+v\n%+v", err, m, d)
	}
}

// TestTLSFlags proves that each flag of TLS turns it on, and which authorities
// count.
func TestTLSFlags(t *testing.T) {
	for _, args := range []string{"--insecure", "--tls-use-os-certs", "--tls-version tlsv1.3", "--tls-alpn mqtt"} {
		o, _, _, _, err := parseConnect(strings.Fields(args)...)
		if err != nil || o.TLS == nil || o.Address != "mqtts://localhost" {
			t.Errorf("%s: %+v %v", args, o, err)
			continue
		}
		if o.TLS.InsecureSkipVerify != (args == "--insecure") || o.TLS.RootCAs != nil || slices.Contains(o.TLS.NextProtos, "mqtt") != (args == "--tls-alpn mqtt") {
			t.Errorf("%s: %+v", args, o.TLS)
		}
	}
}

// TestTLSVersions proves what --tls-version and --ciphers offer to a broker.
func TestTLSVersions(t *testing.T) {
	for _, tt := range []struct {
		args   string
		least  uint16
		suites []uint16
	}{
		{"--insecure", tls.VersionTLS12, nil},
		{"--tls-version tlsv1.1", tls.VersionTLS11, nil},
		{"--tls-version tlsv1.3", tls.VersionTLS13, nil},
		{"--ciphers ECDHE-ECDSA-AES128-GCM-SHA256", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}},
		{"--ciphers ECDHE-RSA-CHACHA20-POLY1305:AES256-SHA:AES128-GCM-SHA256", tls.VersionTLS12, []uint16{
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
		}},
		{"--ciphers ECDHE-RSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA256:DES-CBC3-SHA", tls.VersionTLS12, []uint16{
			tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
		}},
		{"--ciphers TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}},
	} {
		o, _, _, _, err := parseConnect(strings.Fields(tt.args)...)
		if err != nil || o.TLS == nil || o.TLS.MinVersion != tt.least || !slices.Equal(o.TLS.CipherSuites, tt.suites) {
			t.Errorf("%s: %+v, %v", tt.args, o.TLS, err)
		}
	}
}
