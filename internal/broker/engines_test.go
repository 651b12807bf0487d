package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"midge/internal/engine"
	"midge/internal/engine/epoll"
	"midge/internal/engine/gonet"
	"midge/internal/packet"
)

// overTCP runs a broker on each engine, and calls f with the address where it
// listens.
func overTCP(t *testing.T, cfg setup, f func(t *testing.T, b *Broker, address string)) {
	for name, listen := range map[string]func(*testing.T, []engine.Shard) (engine.Runner, string, func(context.Context) error){
		"epoll": onEpoll, "goroutine": onGoroutines,
	} {
		t.Run(name, func(t *testing.T) {
			b := New(cfg.Config, cfg.Core)
			r, address, run := listen(t, b.Shards())
			b.Start(r)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- run(ctx) }()
			f(t, b, address)
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func onEpoll(t *testing.T, shards []engine.Shard) (engine.Runner, string, func(context.Context) error) {
	e, err := epoll.New(shards, epoll.Config{})
	if errors.Is(err, engine.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	a, err := e.Listen(engine.Listener{Network: "tcp", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	return e, a.String(), e.Run
}

func onGoroutines(t *testing.T, shards []engine.Shard) (engine.Runner, string, func(context.Context) error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	threads := gonet.New(shards, gonet.Config{})
	return threads, ln.Addr().String(), func(ctx context.Context) error {
		running, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- threads.Run(running) }()
		err := gonet.Serve(ctx, threads, shards, ln, gonet.Config{})
		stop()
		return errors.Join(err, <-ended)
	}
}

// namer is an Authenticator that answers from another goroutine, and names each
// client after its password.
type namer struct{ listener atomic.Value }

// Connect implements Authenticator.
func (n *namer) Connect(r Request, done func(Verdict)) {
	v := Verdict{ClientID: string(r.Password)}
	if l := n.listener.Load(); r.Listener != l || r.Local.String() != l || r.Remote == r.Local || r.TLS != nil {
		v.Code = packet.NotAuthorized
	}
	go done(v)
}

// TestVerdictOverTCP lets verdicts come late, and move connections, on both
// engines. What the client sends behind CONNECT is there afterwards, however it
// came.
func TestVerdictOverTCP(t *testing.T) {
	const shards = 4
	n := &namer{}
	overTCP(t, quietly(shards, func(c *setup) { c.Authenticator = n }), func(t *testing.T, b *Broker, address string) {
		n.listener.Store(address)
		var wg sync.WaitGroup
		for _, v := range versions {
			for _, offer := range []string{"in one piece", "byte by byte", "and closes"} {
				for shard := range shards {
					for i := range 3 {
						name := clientOn(shard, shards, fmt.Sprint(v, offer, shard, i, "-"))
						wg.Go(func() {
							if err := joinOverTCP(address, v, offer, name); err != nil {
								t.Errorf("%v, %s, shard %d: %v", v, offer, shard, err)
							}
						})
					}
				}
			}
		}
		wg.Wait()
	})
}

// joinOverTCP connects a client, which is to be called name, and sees that what it
// sends behind CONNECT is answered.
func joinOverTCP(address string, v packet.Version, offer, name string) error {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(2 * time.Minute))
	c := packet.Connect{Version: v, ClientID: []byte("anybody"), CleanStart: true, UserName: []byte("u"), Password: []byte(name)}
	all := c.Append(nil)
	all = (&packet.Subscribe{ID: 7, Subscriptions: []packet.Subscription{{Filter: []byte(name), QoS: 0}}}).Append(all, v)
	all = (&packet.Publish{Topic: []byte(name), Payload: make([]byte, 5000)}).Append(all, v)
	all = append(all, 0xc0, 0)
	switch offer {
	case "byte by byte":
		for i := range all {
			if _, err := nc.Write(all[i : i+1]); err != nil {
				return err
			}
		}
	default:
		if _, err := nc.Write(all); err != nil {
			return err
		}
	}
	if offer == "and closes" {
		nc.(*net.TCPConn).CloseWrite()
	}
	var in []byte
	for _, want := range []packet.Type{packet.CONNACK, packet.SUBACK, packet.PUBLISH, packet.PINGRESP} {
		for {
			first, body, size, err := packet.Split(in, packet.MaxSize)
			if err != nil {
				return err
			}
			if size > 0 {
				if packet.TypeOf(first) != want || want == packet.CONNACK && body[1] != 0 {
					return fmt.Errorf("got %v % x, want %v", packet.TypeOf(first), body[:min(len(body), 8)], want)
				}
				in = in[size:]
				break
			}
			b := make([]byte, 8192)
			n, err := nc.Read(b)
			if in = append(in, b[:n]...); err != nil && n == 0 {
				return fmt.Errorf("waiting for %v: %w", want, err)
			}
		}
	}
	if offer == "and closes" {
		if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
			return fmt.Errorf("after the end: %v", err)
		}
	}
	return nil
}
