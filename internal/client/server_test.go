package client

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	gorilla "github.com/gorilla/websocket"

	"midge/internal/websocket"
)

// serve hands each connection to f and closes it after, until the test ends.
func serve(t *testing.T, l net.Listener, f func(net.Conn)) (address string) {
	t.Helper()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer nc.Close()
				f(nc)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// join copies both ways until both sides have ended.
func join(t *testing.T, client io.ReadWriteCloser, backend string) {
	server, err := net.Dial("tcp", backend)
	if err != nil {
		t.Error(err)
		return
	}
	var both sync.WaitGroup
	pipe := func(to io.WriteCloser, from io.Reader) {
		io.Copy(to, from)
		to.Close()
	}
	both.Go(func() { pipe(server, client) })
	both.Go(func() { pipe(client, server) })
	both.Wait()
}

// relay takes TLS off, and wants a client certificate.
func relay(t *testing.T, backend string, certificate tls.Certificate, authority *x509.CertPool) (address string) {
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, ClientCAs: authority, ClientAuth: tls.RequireAndVerifyClientCert}
	l := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), config)
	return serve(t, l, func(nc net.Conn) { join(t, nc, backend) })
}

func unixRelay(t *testing.T, backend string) (path string) {
	l := listen(t, "unix", filepath.Join(t.TempDir(), "s"))
	return serve(t, l, func(nc net.Conn) { join(t, nc, backend) })
}

// gateway takes WebSocket off, of /mqtt and both protocol names, in frames that
// cut packets anywhere.
func gateway(t *testing.T, backend string, certificate *tls.Certificate) (address string) {
	upgrader := gorilla.Upgrader{Subprotocols: []string{"mqtt", "mqttv3.1"}}
	mux := http.NewServeMux()
	mux.HandleFunc("/mqtt", func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		if ws.Subprotocol() == "" {
			t.Errorf("the client asks for the protocols %q", gorilla.Subprotocols(r))
		}
		join(t, cutter{websocket.New(ws)}, backend)
	})
	s := httptest.NewUnstartedServer(mux)
	if certificate != nil {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}}
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// cutter writes small pieces.
type cutter struct{ *websocket.Conn }

func (c cutter) Write(b []byte) (written int, err error) {
	for len(b) > 0 {
		n, err := c.Conn.Write(b[:min(len(b), 333)])
		if err != nil {
			return written, err
		}
		written, b = written+n, b[n:]
	}
	return written, nil
}

// hostport is the address of a server that runs f for each connection.
func hostport(t *testing.T, f func(net.Conn)) string {
	return serve(t, listen(t, "tcp", "127.0.0.1:0"), f)
}

// answer is a server that reads a packet and says text.
func answer(t *testing.T, text string) string {
	return hostport(t, func(nc net.Conn) {
		nc.Read(make([]byte, 1000))
		io.Copy(nc, strings.NewReader(text))
		io.Copy(io.Discard, nc) // until the client goes
	})
}
