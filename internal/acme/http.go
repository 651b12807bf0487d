package acme

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/acme/autocert"
)

const (
	// maxRequests is how many connections may ask at one time: an authority has some, from
	// several places. Others wait in the kernel.
	maxRequests = 32

	requestTimeout = 5 * time.Second
)

// challengeServer answers the authority by HTTP, and everybody else that there is nothing.
type challengeServer struct {
	listener net.Listener
	server   *http.Server
}

func listen(address string, manager *autocert.Manager) (*challengeServer, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	answer := manager.HTTPHandler(http.NotFoundHandler())
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if host, _, err := net.SplitHostPort(r.Host); err == nil {
				r.Host = host // autocert compares names; some authorities ask on another port
			}
			answer.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		MaxHeaderBytes: 8 << 10,
	}
	s.SetKeepAlivesEnabled(false)
	return &challengeServer{&limited{l, make(chan struct{}, maxRequests)}, s}, nil
}

// serve answers until ctx is cancelled.
func (c *challengeServer) serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { c.server.Close() })
	defer stop()
	c.server.Serve(c.listener) // it ends with ctx
}

// limited is a listener that has a few connections at one time.
type limited struct {
	net.Listener
	slots chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slot{Conn: c, slots: l.slots}, nil
}

// slot is a connection of a limited listener.
type slot struct {
	net.Conn
	slots chan struct{}
	once  sync.Once
}

func (s *slot) Close() error {
	s.once.Do(func() { <-s.slots })
	return s.Conn.Close()
}
