package mqtt3

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	gorilla "github.com/gorilla/websocket"

	"midge/internal/bufpool"
	"midge/internal/devcert"
	"midge/internal/engine"
	"midge/internal/engine/tlslayer"
	"midge/internal/engine/wslayer"
	"midge/internal/tlsrecord"
	"midge/internal/websocket"
)

// The transports of a server, as the schemes of its address.
const (
	tcp       = "tcp"
	secure    = "tls"
	web       = "ws"
	secureWeb = "wss"
)

// path is that of a WebSocket.
const path = "/mqtt"

// link is what is below a client's connection.
type link struct {
	socket    *net.TCPConn
	secure    *tls.Conn       // nil without TLS
	webSocket *websocket.Conn // nil without WebSocket
}

// dial opens a connection to an address with or without a scheme. Who the server is
// doesn't matter here.
func dial(address string) (net.Conn, *link, error) {
	scheme, host, found := strings.Cut(address, "://")
	if !found {
		scheme, host = tcp, address
	}
	conn, err := net.DialTimeout("tcp", host, patience)
	if err != nil {
		return nil, nil, err
	}
	l := &link{socket: conn.(*net.TCPConn)}
	if scheme == secure || scheme == secureWeb {
		l.secure = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		conn = l.secure
	}
	if scheme == web || scheme == secureWeb {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		l.webSocket, err = websocket.Client(ctx, conn, scheme+"://"+host+path, "mqtt")
		conn = l.webSocket
	} else if l.secure != nil {
		err = l.secure.SetDeadline(time.Now().Add(patience))
		err = errors.Join(err, l.secure.Handshake())
	}
	if err != nil {
		return nil, nil, errors.Join(err, l.socket.Close())
	}
	return conn, l, nil
}

// Cut ends the connection as a network failure would.
func (l *link) Cut() {
	l.socket.SetLinger(0)
	l.socket.Close()
}

// closeWrite ends the client's half of the connection.
func (l *link) closeWrite() error {
	switch {
	case l.webSocket != nil:
		goodbye := gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, "")
		return l.webSocket.WriteControl(gorilla.CloseMessage, goodbye, time.Now().Add(patience))
	case l.secure != nil:
		return errors.Join(l.secure.CloseWrite(), l.socket.CloseWrite())
	}
	return l.socket.CloseWrite()
}

// layers stand between the shards of a broker and its engine.
type layers struct {
	shards []engine.Shard
	start  func(engine.Runner)

	compacted func() bool // reports whether tlsrecord has gone on with a connection
}

// layersOf are the layers of a transport. compact: that of TLS is tlsrecord after the
// handshake. dir gets the certificate.
func layersOf(transport string, compact bool, shards []engine.Shard, dir string) (layers, error) {
	log, buffers := slog.New(slog.DiscardHandler), bufpool.New(bufpool.MaxIdle)
	all := layers{shards, func(engine.Runner) {}, nil}
	add := func(shards []engine.Shard, start func(engine.Runner)) {
		below := all.start
		all = layers{shards, func(r engine.Runner) { below(r); start(r) }, nil}
	}
	if transport == web || transport == secureWeb {
		listener := func(int) *wslayer.Listener { return &wslayer.Listener{Path: path} }
		l := wslayer.New(all.shards, buffers, wslayer.Config{Listener: listener, Log: log})
		add(l.Shards(), l.Start)
	}
	if transport == secure || transport == secureWeb {
		if _, err := devcert.Make(dir, []string{"127.0.0.1"}, "", time.Now()); err != nil {
			return all, err
		}
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem"))
		if err != nil {
			return all, err
		}
		cfg := &tls.Config{Certificates: []tls.Certificate{pair}, DynamicRecordSizingDisabled: true}
		outer := cfg.Clone()
		outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return tlsrecord.Config(hello.Conn, cfg), nil
		}
		l := tlslayer.New(all.shards, buffers, tlslayer.Config{
			TLS: func(int) *tls.Config { return outer }, Compact: func(int) bool { return compact }, Log: log,
		})
		add(l.Shards(), l.Start)
		all.compacted = func() bool { return l.Counters().Compact.Load() > 0 }
	}
	return all, nil
}
