//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// probeLimit bounds each wait of a client.
const probeLimit = 30 * time.Second

// client is an MQTT 3.1.1 client that does what a probe needs, one packet at a time.
type client struct {
	conn net.Conn
	in   *bufio.Reader
}

// connect dials and waits for CONNACK.
func connect(address, id string) (*client, error) {
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		return nil, err
	}
	c := &client{conn, bufio.NewReader(conn)}
	if err := conn.SetDeadline(time.Now().Add(probeLimit)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, byte(len(id))}, id...)
	answer, err := c.ask(append([]byte{0x10, byte(len(body))}, body...))
	if err == nil && (len(answer) != 2 || answer[1] != 0) {
		err = errors.New("refused")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect %s: %w", id, err), conn.Close())
	}
	return c, nil
}

// ask writes a packet and returns the body of the next one that comes.
func (c *client) ask(packet []byte) ([]byte, error) {
	if _, err := c.conn.Write(packet); err != nil {
		return nil, err
	}
	return c.read()
}

// read returns the body of the next packet, which is below 128 bytes.
func (c *client) read() ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return nil, err
	}
	if head[1] >= 128 {
		return nil, errors.New("packet is too long")
	}
	body := make([]byte, head[1])
	_, err := io.ReadFull(c.in, body)
	return body, err
}

// pinger is a client that publishes at QoS 0 to itself, at a steady pace, and times it.
type pinger struct{ client *client }

const pingTopic = "bench/ping"

func newPinger(address string) (*pinger, error) {
	c, err := connect(address, "pinger")
	if err != nil {
		return nil, err
	}
	body := append([]byte{0, 1, 0, byte(len(pingTopic))}, pingTopic...)
	answer, err := c.ask(append([]byte{0x82, byte(len(body) + 1)}, append(body, 0)...))
	if err == nil && (len(answer) != 3 || answer[2] != 0) {
		err = errors.New("refused")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe: %w", err), c.conn.Close())
	}
	return &pinger{c}, nil
}

// ping publishes every pace until end is closed, and returns how long each message took to come back. One that could not
// be sent when it was due, because the one before was not back, counts from when it was due.
func (p *pinger) ping(pace time.Duration, end <-chan struct{}) ([]time.Duration, error) {
	body := append([]byte{0, byte(len(pingTopic))}, pingTopic...)
	packet := append([]byte{0x30, byte(len(body) + 8)}, body...)
	packet = append(packet, make([]byte, 8)...)
	var took []time.Duration
	tick := time.NewTimer(0)
	defer tick.Stop()
	for due := time.Now(); ; due = due.Add(pace) {
		wait := time.Until(due)
		tick.Reset(wait)
		select {
		case <-end:
			return took, nil
		case <-tick.C:
		}
		start := due
		if wait > 0 {
			start = time.Now() // without the lag of the timer
		}
		binary.BigEndian.PutUint64(packet[len(packet)-8:], uint64(len(took)))
		if err := p.client.conn.SetDeadline(time.Now().Add(probeLimit)); err != nil {
			return nil, err
		}
		answer, err := p.client.ask(packet)
		if err != nil {
			return nil, fmt.Errorf("ping: %w", err)
		}
		if string(answer) != string(packet[2:]) {
			return nil, errors.New("ping: another message came back")
		}
		took = append(took, time.Since(start))
	}
}

func (p *pinger) close() error { return p.client.conn.Close() }

// quantile sorts d and returns microseconds.
func quantile(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return float64(d[min(len(d)-1, int(q*float64(len(d))))]) / float64(time.Microsecond)
}
