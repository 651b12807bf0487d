package client

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"testing"
	"time"

	"midge/internal/app"
	"midge/internal/config"
	"midge/internal/packet"
)

// broker runs Midge until the test ends, and returns its address.
func broker(t *testing.T) string {
	t.Helper()
	loaded, err := config.Load(config.Sources{Flags: []config.Given{
		{Flag: "test", Key: "listen", Values: []string{"127.0.0.1:0"}},
		{Flag: "test", Key: "durability", Values: []string{"none"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b, err := app.New(ctx, loaded, "test", slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	address := regexp.MustCompile(`tcp://(\S+)`).FindStringSubmatch(b.Banner(""))
	if address == nil {
		t.Fatalf("no address in the banner:\n%s", b.Banner(""))
	}
	return "mqtt://" + address[1]
}

var versions = []packet.Version{packet.V31, packet.V311, packet.V5}

func TestRoundTrip(t *testing.T) {
	address := broker(t)
	for _, v := range versions {
		for qos := range packet.QoS(3) {
			t.Run(fmt.Sprint(v, " QoS ", qos), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				received := make(chan Message, 2000)
				c, err := Connect(ctx, Options{Address: address, Version: v, ClientID: "c", CleanStart: true, KeepAlive: time.Minute, Received: func(m Message) { received <- m }})
				if err != nil {
					t.Fatal(err)
				}
				codes, err := c.Subscribe(ctx, []Subscription{{Filter: "a/#", QoS: qos}})
				if err != nil || len(codes) != 1 || codes[0] != packet.ReasonCode(qos) {
					t.Fatal(codes, err)
				}
				var receipts []*Receipt
				for i := range 1000 {
					r, err := c.Send(ctx, Message{Topic: "a/b", Payload: fmt.Append(nil, i), QoS: qos})
					if err != nil {
						t.Fatal(err)
					}
					receipts = append(receipts, r)
				}
				for _, r := range receipts {
					if _, err := r.Wait(ctx); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 1000 {
					select {
					case m := <-received:
						if want := fmt.Sprint(i); string(m.Payload) != want || m.QoS != qos || m.Topic != "a/b" {
							t.Fatalf("received %+v, want %s", m, want)
						}
					case <-ctx.Done():
						t.Fatalf("message %d has not arrived", i)
					}
				}
				if codes, err := c.Unsubscribe(ctx, []string{"a/#"}); err != nil || codes[0] != packet.Success {
					t.Error(codes, err)
				}
				if err := c.Disconnect(Disconnection{}); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
