//go:build integration && unix

package interop

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const installMosquitto = "apt-get install mosquitto-clients"

// mosquitto is a mosquitto_sub, started by subscribe, and a mosquitto_pub for
// each message.
type mosquitto struct {
	options
	sub      *program
	messages chan message
	subacks  chan struct{}
}

func connectMosquitto(t *testing.T, o options) client {
	t.Helper()
	find(t, "mosquitto_sub", installMosquitto)
	find(t, "mosquitto_pub", installMosquitto)
	return &mosquitto{
		options:  o,
		messages: make(chan message, 100), subacks: make(chan struct{}, 1),
	}
}

// arguments are those that both programs need.
func (m *mosquitto) arguments(t *testing.T, id string) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(m.Addr)
	if err != nil {
		t.Fatal(err)
	}
	version := map[int]string{3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}[m.Version]
	args := []string{"-h", host, "-p", port, "-V", version, "-i", id}
	if m.Scheme == "tls" {
		args = append(args, "--cafile", m.CA)
	}
	return args
}

func (m *mosquitto) subscribe(t *testing.T, filter string, qos byte) {
	t.Helper()
	args := append(m.arguments(t, m.ID), "-d", "-F", "MESSAGE %q %r %t %p", "-t", filter, "-q", strconv.Itoa(int(qos)))
	if !m.Clean {
		args = append(args, "-c")
		if m.Version == 5 {
			args = append(args, "-x", "600")
		}
	}
	if w := m.Will; w != nil {
		args = append(args, "--will-topic", w.Topic, "--will-payload", w.Payload, "--will-qos", strconv.Itoa(int(w.QoS)))
	}
	// Its output to a pipe is buffered by the C library unless stdbuf says otherwise.
	cmd := exec.Command(find(t, "stdbuf", "apt-get install coreutils"), append([]string{"-oL", "mosquitto_sub"}, args...)...)
	m.sub = start(t, cmd, m.line)
	await(t, m.sub, "subscribe", m.subacks)
}

// line takes what mosquitto_sub prints: messages and, because of -d, packets.
func (m *mosquitto) line(line string) {
	if rest, ok := strings.CutPrefix(line, "MESSAGE "); ok {
		f := strings.SplitN(rest, " ", 4)
		m.messages <- message{Topic: f[2], Payload: f[3], QoS: f[0][0] - '0', Retain: f[1] == "1"}
		return
	}
	if strings.HasPrefix(line, "Subscribed (mid:") {
		m.subacks <- struct{}{}
	}
}

func (m *mosquitto) publish(t *testing.T, msg message) {
	t.Helper()
	args := append(m.arguments(t, unique("p")), "-t", msg.Topic, "-q", strconv.Itoa(int(msg.QoS)))
	if msg.Retain {
		args = append(args, "-r")
	}
	if msg.Payload == "" {
		args = append(args, "-n")
	} else {
		args = append(args, "-m", msg.Payload)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "mosquitto_pub", args...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (m *mosquitto) received() <-chan message { return m.messages }

func (m *mosquitto) present() bool { return false }

func (m *mosquitto) drop(*testing.T) { m.sub.kill() }

// close makes mosquitto_sub send DISCONNECT, which it does at SIGTERM.
func (m *mosquitto) close(t *testing.T) {
	t.Helper()
	if m.sub == nil {
		return
	}
	if err := m.sub.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(fmt.Errorf("stop mosquitto_sub: %w", err))
	}
	select {
	case <-m.sub.done:
	case <-time.After(patience):
		t.Fatalf("mosquitto_sub has not ended within %v", patience)
	}
}
