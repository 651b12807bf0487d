package tlsrecord

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
)

// Secrets are what a handshake of crypto/tls tells of itself: the traffic secrets, by way of
// Config.KeyLogWriter, and how many records it has protected with the server's. Its methods are called
// by the goroutine of the handshake.
//
// The documentation of KeyLogWriter warns of it: secrets that are written down give connections
// away. These stay in the memory that has the keys in any case.
type Secrets struct {
	client, server []byte // empty: not yet
	sent           []byte // what the server has sent since it has its secret
}

// Teller is a net.Conn that wants to know the secrets of its handshake.
type Teller interface {
	net.Conn
	Secrets() *Secrets // nil: it does not
}

// Config is the configuration cfg for a handshake on conn, as
// tls.Config.GetConfigForClient returns it: it tells the secrets if conn is a Teller. Each connection has a
// writer of its own, since anybody can send the random number that key logs go by.
func Config(conn net.Conn, cfg *tls.Config) *tls.Config {
	t, ok := conn.(Teller)
	if !ok || t.Secrets() == nil {
		return cfg
	}
	cfg = cfg.Clone()
	cfg.KeyLogWriter = keyLog{t.Secrets(), cfg.KeyLogWriter}
	return cfg
}

// keyLog takes the lines of a key log, in the format of SSLKEYLOGFILE.
type keyLog struct {
	secrets *Secrets
	next    io.Writer // gets them too; may be nil
}

// Write implements io.Writer.
func (l keyLog) Write(line []byte) (int, error) {
	if f := bytes.Fields(line); len(f) == 3 { // label, random number, secret
		switch string(f[0]) {
		case "CLIENT_TRAFFIC_SECRET_0":
			l.secrets.client, _ = hex.AppendDecode(nil, f[2])
		case "SERVER_TRAFFIC_SECRET_0":
			l.secrets.server, _ = hex.AppendDecode(nil, f[2])
		}
	}
	if l.next != nil {
		return l.next.Write(line)
	}
	return len(line), nil
}

// Sent must be called with all that the server sends in the handshake.
func (s *Secrets) Sent(b []byte) {
	if len(s.server) > 0 {
		s.sent = append(s.sent, b...)
	}
}

// skip goes on to the sequence number behind the records in sent. Some of these are of the handshake
// and have another key: what p protects is what it opens. There is a session ticket, or none.
func (p *protection) skip(sent []byte) {
	for len(sent) >= headerBytes {
		n := min(headerBytes+length(sent), len(sent))
		p.opens(sent[:n])
		sent = sent[n:]
	}
}
