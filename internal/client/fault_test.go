package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/test/certificate"
)

// TestWrongTargets proves that what can't work fails at once, and says why.
func TestWrongTargets(t *testing.T) {
	plain := strings.TrimPrefix(broker(t), "mqtt://")
	pair := certificate.New(t, "localhost", "127.0.0.1")
	authority, certificate := pair.Pool(), pair.TLS
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	webAddress := web.Listener.Addr().String()
	closed := listen(t, "tcp", "127.0.0.1:0")
	closed.Close()
	secured := relay(t, plain, certificate, authority)
	none := &tls.Config{RootCAs: authority}
	for _, tt := range []struct {
		name, address string
		tls           *tls.Config
		want          string
	}{
		{"nothing there", "mqtt://" + closed.Addr().String(), nil, "connection refused: nothing listens there"},
		{"no scheme", "localhost:1883", nil, "address localhost:1883: the scheme is none of mqtt, mqtts, ws, wss, unix"},
		{"no host", "mqtt://", nil, "address mqtt://: the host is missing"},
		{"bad port", "mqtt://a:b", nil, "address mqtt://a:b: write scheme://host:port, such as mqtt://localhost:1883"},
		{"no socket", "unix:///no/such/socket", nil, "connect to unix:///no/such/socket: dial unix /no/such/socket: connect: no such file or directory"},
		{"a web server", "mqtt://" + answer(t, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"), nil, `not an MQTT broker: it answered "HTTP/1.1 400 Bad Request"`},
		{"an SSH server", "mqtt://" + answer(t, "SSH-2.0-OpenSSH_9.2\r\n"), nil, `not an MQTT broker: it answered "SSH-2.0-OpenSSH_9.2"`},
		{"TLS there, but not here", "mqtt://" + answer(t, "\x15\x03\x01\x00\x02\x02\x46"), nil, "not an MQTT broker: it speaks TLS; use mqtts:// (or wss://)"},
		{"TLS of Go there, but not here", "mqtt://" + secured, nil, "closed without an answer to CONNECT; it may not know MQTT 5.0, or expect TLS"},
		{"closed", "mqtt://" + hostport(t, func(net.Conn) {}), nil, "closed without an answer to CONNECT; it may not know MQTT 5.0, or expect TLS"},
		{"TLS here, but not there", "mqtts://" + plain, nil, "closed during the TLS handshake: it may not speak TLS"},
		{"TLS to a web server", "mqtts://" + webAddress, nil, `it does not speak TLS: it answered "HTTP/`},
		{"unknown authority", "mqtts://" + secured, nil, "certificate signed by unknown authority (name the authority's file with --cafile, or accept anything with --insecure)"},
		{"another name", "mqtts://" + secured, &tls.Config{RootCAs: authority, ServerName: "example.org"}, "certificate is valid for localhost, not example.org"},
		{"no client certificate", "mqtts://" + secured, none, "the broker refused the TLS connection: tls: certificate required"},
		{"no WebSocket", "ws://" + webAddress + "/here", nil, "no WebSocket at /here: it answered 404 Not Found"},
		{"WebSocket to a broker", "ws://" + plain, nil, "closed without an answer to the WebSocket request"},
		{"silence", "mqtt://" + hostport(t, func(nc net.Conn) { io.Copy(io.Discard, nc) }), nil, "no CONNACK in time: is this an MQTT broker?"},
		{"another packet", "mqtt://" + answer(t, "\xd0\x00"), nil, `not an MQTT broker: it answered "\xd0\x00"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, v := range []packet.Version{packet.V311, packet.V5} {
				timeout := 30 * time.Second
				if tt.name == "silence" {
					timeout = 100 * time.Millisecond
				}
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				want := strings.ReplaceAll(tt.want, "5.0", versionName(v))
				c, err := Connect(ctx, Options{Address: tt.address, Version: v, ClientID: "c", CleanStart: true, TLS: tt.tls})
				if err == nil {
					c.Close()
					t.Fatalf("%v: no error", v)
				}
				if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), tt.address) {
					t.Errorf("%v: %v\nwant %s", v, err, want)
				}
			}
		})
	}
}

// TestRefused proves that the reasons of CONNACK are told in words.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		version packet.Version
		connack string
		want    string
	}{
		{packet.V5, "\x20\x03\x00\x87\x00", "not authorized (0x87)"},
		{packet.V5, "\x20\x08\x00\x86\x05\x1f\x00\x02no", "bad user name or password (0x86): no"},
		{packet.V5, "\x20\x02\x00\x01", "unsupported protocol version (0x84)"}, // of a broker of 3.1.1
		{packet.V311, "\x20\x02\x00\x01", "unsupported protocol version (0x84)"},
		{packet.V311, "\x20\x02\x00\x02", "client identifier not valid (0x85)"},
		{packet.V311, "\x20\x02\x00\x03", "server unavailable (0x88)"},
		{packet.V31, "\x20\x02\x00\x04", "bad user name or password (0x86)"},
		{packet.V31, "\x20\x02\x00\x05", "not authorized (0x87)"},
		{packet.V311, "\x20\x02\x00\x2a", "unspecified error (0x80)"},
	} {
		address := "mqtt://" + answer(t, tt.connack)
		_, err := Connect(soon(t), Options{Address: address, Version: tt.version, ClientID: "c", CleanStart: true})
		var refused *Refused
		if want := "connect to " + address + ": refused: " + tt.want; err == nil || err.Error() != want || !errors.As(err, &refused) {
			t.Errorf("%v %x: %v, want %s", tt.version, tt.connack, err, want)
		}
	}
}

// TestCancelled proves that the end of the context ends Connect.
func TestCancelled(t *testing.T) {
	for _, v := range versions {
		ctx, cancel := context.WithCancel(t.Context())
		address := hostport(t, func(nc net.Conn) {
			nc.Read(make([]byte, 100))
			cancel()
			io.Copy(io.Discard, nc)
		})
		if _, err := Connect(ctx, Options{Address: "mqtt://" + address, Version: v, ClientID: "c", CleanStart: true}); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: %v", v, err)
		}
	}
}

// TestLost proves that what waits for an answer fails when the connection is
// lost, for each version and with the reason.
func TestLost(t *testing.T) {
	connacks := map[packet.Version]string{packet.V31: "\x20\x02\x00\x00", packet.V311: "\x20\x02\x00\x00", packet.V5: "\x20\x03\x00\x00\x00"}
	for _, v := range versions {
		address := hostport(t, func(nc net.Conn) {
			nc.Read(make([]byte, 100))
			io.WriteString(nc, connacks[v])
			nc.Read(make([]byte, 100))
		})
		closed := make(chan error, 1)
		c, err := Connect(soon(t), Options{Address: "mqtt://" + address, Version: v, ClientID: "c", CleanStart: true, Closed: func(err error) { closed <- err }})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Publish(soon(t), Message{Topic: "t", QoS: 1})
		if want := fmt.Sprintf("publish to t: %v", errClosed); err == nil || err.Error() != want {
			t.Errorf("%v: publish: %v, want %s", v, err, want)
		}
		if err := take(t, closed); err == nil {
			t.Errorf("%v: closed without a reason", v)
		}
		if _, err := c.Subscribe(soon(t), []Subscription{{Filter: "t"}}); err == nil {
			t.Errorf("%v: subscribed", v)
		}
	}
}

// TestReword proves that the errors of names are told in words.
func TestReword(t *testing.T) {
	err := reword(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "nowhere.invalid", IsNotFound: true}})
	if want := "no such host: nowhere.invalid"; err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
