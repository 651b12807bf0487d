package compare

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// answerLimit bounds one attempt to get an answer.
const answerLimit = 2 * time.Second

// answers sends a CONNECT of MQTT 3.1.1 to address and waits for a CONNACK of
// any return code: a broker that refuses a client is ready to do so. Over
// WebSocket an accepted connection has to do.
func answers(ctx context.Context, address string) error {
	scheme, host, found := strings.Cut(address, "://")
	if !found {
		scheme, host = "mqtt", address
	}
	host, _, _ = strings.Cut(host, "/")
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	switch scheme {
	case "ws", "wss":
		return nil
	case "mqtts", "tls", "ssl":
		// Whether its certificate is good is not asked here.
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	// CONNECT, MQTT 3.1.1 section 3.1: clean session, keep-alive 60 s, client
	// "ready"; then DISCONNECT, so that the broker has nothing to report.
	const connect = "\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05ready"
	if _, err := io.WriteString(conn, connect); err != nil {
		return err
	}
	var connack [4]byte
	if _, err := io.ReadFull(conn, connack[:]); err != nil {
		return fmt.Errorf("wait for CONNACK: %w", err)
	}
	if connack[0] != 0x20 {
		return fmt.Errorf("wait for CONNACK: the answer begins with 0x%02x", connack[0])
	}
	_, err = io.WriteString(conn, "\xe0\x00")
	return err
}
