//go:build integration && unix

package interop

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/acl"
	"midge/internal/packet"
	"midge/internal/variable"
	"midge/test/process"
)

// raw is a connection of 5.0 whose packets are as short as they can be.
type raw struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dialRaw(t *testing.T, port, user, id string) *raw {
	t.Helper()
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	r := &raw{t, c, bufio.NewReader(c)}
	connect := packet.Connect{Version: packet.V5, ClientID: []byte(id), CleanStart: true}
	if user != "" {
		connect.UserName, connect.Password = []byte(user), []byte("x")
	}
	r.send(connect.Append(nil))
	if first, body := r.next(); packet.Type(first>>4) != packet.CONNACK || body[1] != 0 {
		t.Fatalf("%s as %s: %02x % x", user, id, first, body)
	}
	return r
}

func (r *raw) send(b []byte) {
	r.t.Helper()
	if _, err := r.c.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// next returns the next packet, which has less than 128 bytes or two of length.
func (r *raw) next() (first byte, body []byte) {
	r.t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(r.r, head); err != nil {
		r.t.Fatal(err)
	}
	n := int(head[1])
	if n >= 0x80 {
		more, err := r.r.ReadByte()
		if err != nil {
			r.t.Fatal(err)
		}
		n = n&0x7f | int(more)<<7
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(r.r, body); err != nil {
		r.t.Fatal(err)
	}
	return head[0], body
}

// publish reports whether the broker lets the client publish.
func (r *raw) publish(topic string) bool {
	r.t.Helper()
	m := packet.Publish{Topic: []byte(topic), QoS: 1, ID: 1, Payload: []byte("x")}
	r.send(m.Append(nil, packet.V5))
	for {
		first, body := r.next()
		if packet.Type(first>>4) == packet.PUBACK {
			return len(body) < 3 || body[2] < 0x80
		}
	}
}

// receives reports whether a message came since the last answer.
func (r *raw) receives() (came bool) {
	r.t.Helper()
	r.send([]byte{0xc0, 0})
	for {
		switch first, _ := r.next(); packet.Type(first >> 4) {
		case packet.PUBLISH:
			came = true
		case packet.PINGRESP:
			return came
		}
	}
}

// TestMosquittoACL asks Debian's Mosquitto and the package acl the same about the
// same files: some that show its rules, and others by chance.
func TestMosquittoACL(t *testing.T) {
	const root = "\nuser root\ntopic readwrite #\n"
	files := []string{
		"topic a\nuser u\ntopic b",
		"user u\ntopic a/#\ntopic deny a/b\nuser v\ntopic deny a/b\ntopic a/+",
		"user u\ntopic read a\ntopic write b\npattern readwrite %u/%c",
		"pattern deny a\nuser u\ntopic a\npattern read b",
		"user u\ntopic a/%u\nuser u+\ntopic a\n",
		"pattern a/%c/#\nuser u+\ntopic b\ntopic read a/b",
		"topic b\npattern read a",
		"user u\n",
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	for range 12 {
		var text strings.Builder
		for range 1 + random.IntN(8) {
			switch random.IntN(4) {
			case 0:
				fmt.Fprintf(&text, "user %s\n", pick("u", "v", "u+"))
			case 1:
				fmt.Fprintf(&text, "pattern %s%s\n", pick("", "read ", "write ", "readwrite ", "deny "), pick("a", "%u", "%c/#", "a/%c", "+/b", "a/#", "x%u"))
			default:
				fmt.Fprintf(&text, "topic %s%s\n", pick("", "read ", "write ", "readwrite ", "deny "), pick("a", "b", "a/+", "a/#", "#", "+", "u", "a/b"))
			}
		}
		files = append(files, text.String())
	}
	for i, text := range files {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "acl")
			if err := os.WriteFile(file, []byte(text+root), 0o644); err != nil {
				t.Fatal(err)
			}
			list, err := acl.Open(file, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			var rules acl.Rules
			rules.Use(list)
			_, ports := process.Mosquitto(t, "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nacl_file "+file+"\n")
			publisher := dialRaw(t, ports["port"], "root", "root")
			for _, who := range []struct{ user, id string }{{"", "c"}, {"u", "c"}, {"v", "b"}, {"u+", "c"}, {"u", "c+"}, {"", "#"}, {"", "x/b"}} {
				client := dialRaw(t, ports["port"], who.user, who.id)
				may := acl.Sources{Listener: &rules}.For(variable.Client{User: who.user, ID: who.id}, nil, "")
				for n, topic := range []string{"a", "b", "a/b", "u", "v", "c", "a/c", "x/b", "a/x/b", "xu", "u/c", "x/b/c"} {
					sub := packet.Subscribe{ID: packet.ID(n + 1), Subscriptions: []packet.Subscription{{Filter: []byte(topic)}}}
					client.send(sub.Append(nil, packet.V5))
					client.receives()
					if !publisher.publish(topic) {
						t.Fatalf("root may not publish to %s", topic)
					}
					if theirs, ours := client.receives(), may.Receive([]byte(topic)); theirs != ours {
						t.Errorf("%q as %q receives %s: Mosquitto says %t, we %t, of\n%s", who.user, who.id, topic, theirs, ours, text)
					}
					unsub := packet.Unsubscribe{ID: 1, Filters: [][]byte{[]byte(topic)}}
					client.send(unsub.Append(nil, packet.V5))
					if theirs, ours := client.publish(topic), may.Publish([]byte(topic), 1, false); theirs != ours {
						t.Errorf("%q as %q publishes %s: Mosquitto says %t, we %t, of\n%s", who.user, who.id, topic, theirs, ours, text)
					}
				}
			}
		})
	}
}
