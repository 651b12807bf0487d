// Package etcd reads the settings below a prefix of etcd, and notices when they change. It
// speaks with etcd's JSON gateway by HTTP: the client that etcd has for Go brings gRPC, and
// eight megabytes.
//
// What etcd says is bounded in bytes and in time, so that one which is slow, dead or broken
// costs a broker nothing but its news. A Client has one caller at a time.
//
// Files, from the bottom up: files.go, gateway.go, etcd.go, watch.go.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"midge/internal/config"
	"midge/internal/settings"
)

// Client reads from one cluster.
type Client struct {
	cfg      settings.Etcd
	password string
	http     *http.Client
	maxBytes int64  // of an answer
	at       int    // the endpoint that has answered
	token    string // that etcd has given for the password; "" if it has not
}

// New returns a client by the settings, whose files it reads. It does not connect.
func New(cfg *settings.Etcd) (*Client, error) {
	c := &Client{cfg: *cfg, password: cfg.Password, maxBytes: maxAnswer}
	var err error
	if cfg.PasswordFile != "" {
		if c.password, err = readPassword(cfg.PasswordFile); err != nil {
			return nil, err
		}
	}
	secure, err := clientTLS(cfg)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: cfg.Timeout, KeepAlive: keepAlive}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: secure, TLSHandshakeTimeout: cfg.Timeout,
			MaxIdleConnsPerHost: 2, MaxResponseHeaderBytes: 64 << 10,
		},
		// A password must not go where somebody else says.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// keepAlive is after how much silence TCP asks whether the other side is still there.
const keepAlive = 15 * time.Second

// snapshot is what etcd had at a revision.
type snapshot struct {
	endpoint string
	revision int64
	modified int64 // the revision in which the latest of the keys was written
	keys     []config.EtcdKey
}

// Read returns the keys. The error says of each endpoint what is wrong.
func (c *Client) Read(ctx context.Context) ([]config.EtcdKey, error) {
	s, err := c.read(ctx)
	return s.keys, err
}

// read asks the endpoints in turn, first the one that has answered before.
func (c *Client) read(ctx context.Context) (snapshot, error) {
	var errs []string
	for i := range c.cfg.Endpoints {
		at := (c.at + i) % len(c.cfg.Endpoints)
		endpoint := strings.TrimRight(c.cfg.Endpoints[at], "/")
		s, err := c.readFrom(ctx, endpoint)
		if err == nil {
			c.at = at
			return s, nil
		}
		if ctx.Err() != nil {
			return s, context.Cause(ctx)
		}
		errs = append(errs, endpoint+": "+err.Error())
	}
	return snapshot{}, fmt.Errorf("read settings from etcd: %w", errors.New(strings.Join(errs, "; ")))
}

func (c *Client) readFrom(ctx context.Context, endpoint string) (snapshot, error) {
	var answer rangeAnswer
	if err := c.call(ctx, endpoint, "kv/range", rangeRequest{span: c.span()}, &answer); err != nil {
		return snapshot{}, err
	}
	s := snapshot{endpoint: endpoint, revision: answer.Header.Revision}
	for _, kv := range answer.Keys {
		s.keys = append(s.keys, config.EtcdKey{Name: string(kv.Key), Value: string(kv.Value)})
		s.modified = max(s.modified, kv.Modified)
	}
	return s, nil
}

// same reports whether etcd still has what it had.
func (c *Client) same(ctx context.Context, s *snapshot) (bool, error) {
	var answer rangeAnswer
	latest := rangeRequest{span: c.span(), Limit: 1, KeysOnly: true, Target: "MOD", Order: "DESCEND"}
	if err := c.call(ctx, s.endpoint, "kv/range", latest, &answer); err != nil {
		return false, err
	}
	modified := int64(0)
	if len(answer.Keys) > 0 {
		modified = answer.Keys[0].Modified
	}
	return modified == s.modified && answer.Count == int64(len(s.keys)), nil
}

// span is where the keys are.
func (c *Client) span() span {
	root := []byte(c.cfg.Root())
	end := append([]byte(nil), root...)
	end[len(end)-1]++ // it is a slash
	return span{root, end}
}
