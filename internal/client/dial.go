package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"

	"golang.org/x/net/proxy"

	"midge/internal/packet"
	"midge/internal/websocket"
)

// target is an address taken apart.
type target struct {
	network string // tcp or unix
	address string // host:port, or the path of a socket
	host    string
	tls     bool
	ws      bool
	url     url.URL // of a WebSocket
}

// parse takes apart scheme://host[:port][/path].
func parse(address string) (target, error) {
	u, err := url.Parse(address)
	if err != nil {
		return target{}, fmt.Errorf("address %s: write scheme://host:port, such as mqtt://localhost:1883", address)
	}
	t := target{network: "tcp", host: u.Hostname(), url: *u}
	port := "1883"
	switch u.Scheme {
	case "mqtt", "tcp":
	case "mqtts", "ssl", "tls":
		t.tls, port = true, "8883"
	case "ws":
		t.ws, port = true, "80"
	case "wss":
		t.ws, t.tls, port = true, true, "443"
	case "unix":
		return target{network: "unix", address: u.Host + u.Path}, nil
	default:
		return target{}, fmt.Errorf("address %s: the scheme is none of mqtt, mqtts, ws, wss, unix", address)
	}
	if t.host == "" {
		return target{}, fmt.Errorf("address %s: the host is missing", address)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	t.address = net.JoinHostPort(t.host, port)
	if t.url.Path == "" {
		t.url.Path = "/mqtt"
	}
	t.url.Host, t.url.User, t.url.RawQuery = t.address, nil, u.RawQuery
	return t, nil
}

// Check reports addresses that make no sense, so that a command can tell before
// it begins to work.
func (o *Options) Check() error {
	t, err := parse(o.Address)
	if err == nil {
		_, err = o.dialer()
	}
	if err == nil && t.network == "unix" && o.Proxy != "" {
		err = fmt.Errorf("address %s: a socket of this machine is not reached through a proxy", o.Address)
	}
	return err
}

// localAddress is where connections come from, nil for any.
func (o *Options) localAddress() (net.Addr, error) {
	if o.LocalAddress == "" {
		return nil, nil
	}
	ip := net.ParseIP(o.LocalAddress)
	if ip == nil {
		return nil, fmt.Errorf("local address %s: not an IP address", o.LocalAddress)
	}
	return &net.TCPAddr{IP: ip}, nil
}

// dialer opens connections, through the proxy if there is one.
func (o *Options) dialer() (proxy.ContextDialer, error) {
	local, err := o.localAddress()
	if err != nil {
		return nil, err
	}
	direct := &net.Dialer{LocalAddr: local}
	if o.Proxy == "" {
		return direct, nil
	}
	u, err := url.Parse(o.Proxy)
	if err != nil || u.Scheme != "socks5h" && u.Scheme != "socks5" || u.Hostname() == "" {
		return nil, errors.New("proxy: write socks5h://[user[:password]@]host[:port]")
	}
	through, err := proxy.FromURL(u, direct)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", u.Host, err)
	}
	return proxied{through.(proxy.ContextDialer), u.Host}, nil
}

// proxied is a dialer whose errors name the proxy.
type proxied struct {
	proxy.ContextDialer
	host string
}

func (p proxied) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := p.ContextDialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("through the proxy %s: %w", p.host, reword(err))
	}
	return nc, nil
}

// dial opens the transport.
func dial(ctx context.Context, o *Options) (*conn, error) {
	t, err := parse(o.Address)
	if err != nil {
		return nil, err
	}
	nc, err := t.open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", o.Address, reword(err))
	}
	return newConn(nc, t.tls), nil
}

func (t target) open(ctx context.Context, o *Options) (net.Conn, error) {
	d, err := o.dialer()
	if err != nil {
		return nil, err
	}
	nc, err := d.DialContext(ctx, t.network, t.address)
	if err != nil {
		return nil, err
	}
	if t.tls {
		nc, err = handshake(ctx, nc, t.host, o.TLS)
	}
	if err == nil && t.ws {
		nc, err = upgrade(ctx, nc, t, o.Version)
	}
	return nc, err
}

// handshake puts TLS on a connection, or closes it.
func handshake(ctx context.Context, nc net.Conn, host string, config *tls.Config) (net.Conn, error) {
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = host
	}
	secured := tls.Client(nc, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		nc.Close()
		if ended(err) {
			err = errors.New("closed during the TLS handshake: it may not speak TLS")
		}
		return nil, err
	}
	return secured, nil
}

// upgrade puts WebSocket on a connection, or closes it.
func upgrade(ctx context.Context, nc net.Conn, t target, v packet.Version) (net.Conn, error) {
	protocol := "mqtt"
	if v == packet.V31 {
		protocol = "mqttv3.1"
	}
	return websocket.Client(ctx, nc, t.url.String(), protocol)
}
