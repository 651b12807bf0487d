package wslayer

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/gobwas/ws"
)

// maxRequest is the longest request with its header, in bytes. Browsers send cookies
// along. Guess.
const maxRequest = 16 << 10

// request is one that is answered.
type request struct {
	bytes.Reader        // over it
	answer       []byte // to send
	client       netip.Addr
	reason       Reason
}

// Write implements io.Writer.
func (r *request) Write(b []byte) (int, error) {
	r.answer = append(r.answer, b...)
	return len(b), nil
}

// refuse is the error that makes the upgrader answer.
func (r *request) refuse(reason Reason, status int, text string) error {
	r.reason = reason
	return ws.RejectConnectionError(ws.RejectionStatus(status), ws.RejectionReason(text))
}

// upgrade answers a request of peer's as a listener asks.
func upgrade(b []byte, l *Listener, peer netip.Addr) (*request, error) {
	r := &request{reason: BadRequest}
	r.Reset(b)
	var hops []string
	asked := false
	u := ws.Upgrader{
		ReadBufferSize: len(b),
		OnRequest: func(uri []byte) error {
			path, _, _ := strings.Cut(string(uri), "?")
			if l.Path != "" && path != l.Path {
				return r.refuse(Path, 404, "there is no WebSocket at this path\n")
			}
			return nil
		},
		OnHeader: func(key, value []byte) error {
			switch {
			case bytes.EqualFold(key, []byte("Origin")) && len(l.Origins) > 0:
				is := func(origin string) bool { return strings.EqualFold(origin, string(value)) }
				if !slices.ContainsFunc(l.Origins, is) {
					return r.refuse(Origin, 403, "pages of this origin may not connect\n")
				}
			case bytes.EqualFold(key, []byte("X-Forwarded-For")):
				hops = append(hops, strings.Split(string(value), ",")...)
			}
			return nil
		},
		Protocol: func(name []byte) bool {
			asked = asked || string(name) == "mqtt" || string(name) == "mqttv3.1"
			return asked
		},
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			if !asked {
				return nil, r.refuse(Protocol, 400, "the subprotocol mqtt is missing\n")
			}
			return nil, nil
		},
	}
	_, err := u.Upgrade(r)
	if err != nil && len(r.answer) == 0 {
		r.answer = []byte(answerBad)
	}
	r.client = l.clientOf(hops, peer)
	return r, err
}

const (
	answerBad  = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	answerLong = "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)

// clientOf is the address that the proxies say a request is of: the last hop that is no
// proxy of ours. It is the peer's if that is none either.
func (l *Listener) clientOf(hops []string, peer netip.Addr) netip.Addr {
	client := peer
	for i := len(hops) - 1; i >= 0 && l.trusts(client); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		client = hop.Unmap()
	}
	return client
}

// plainReason is what a peer speaks that sends no request, false if it may be one.
func plainReason(first byte) (Reason, bool) {
	switch {
	case first == 0x10:
		return PlainMQTT, true
	case first == 0x16:
		return TLS, true
	case first < 'A' || first > 'Z':
		return NotHTTP, true
	}
	return 0, false
}
