package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"midge/internal/app/apptest"
	"midge/internal/config"
	"midge/internal/packet"
	"midge/test/certificate"
)

// broker runs Midge until the test ends, and returns its address.
func broker(t *testing.T, settings ...config.Given) string {
	t.Helper()
	return "mqtt://" + apptest.Serve(t, settings...)
}

var versions = []packet.Version{packet.V31, packet.V311, packet.V5}

// soon bounds what a test waits for.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// open connects, and disconnects when the test ends.
func open(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := Connect(soon(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Disconnect(Disconnection{}) })
	return c
}

func take[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-soon(t).Done():
		t.Fatal("nothing has come")
		panic("not reached")
	}
}

// TestRoundTrip proves for each version, QoS and transport that many messages
// under way at once arrive once and in order.
func TestRoundTrip(t *testing.T) {
	plain := broker(t)
	pair := certificate.New(t, "localhost", "127.0.0.1")
	authority, certificate := pair.Pool(), pair.TLS
	config := &tls.Config{RootCAs: authority, Certificates: []tls.Certificate{certificate}}
	backend := strings.TrimPrefix(plain, "mqtt://")
	for _, transport := range []struct{ name, address string }{
		{"TCP", plain},
		{"TLS", "mqtts://" + relay(t, backend, certificate, authority)},
		{"WebSocket", "ws://" + gateway(t, backend, nil) + "/mqtt"},
		{"secure WebSocket", "wss://" + gateway(t, backend, &certificate)},
		{"Unix", "unix://" + unixRelay(t, backend)},
	} {
		for _, v := range versions {
			for qos := range packet.QoS(3) {
				t.Run(fmt.Sprint(transport.name, " ", v, " QoS ", qos), func(t *testing.T) {
					roundTrip(t, Options{Address: transport.address, Version: v, ClientID: "c", CleanStart: true, KeepAlive: time.Minute, TLS: config}, qos)
				})
			}
		}
	}
}

func roundTrip(t *testing.T, o Options, qos packet.QoS) {
	const messages = 500
	ctx := soon(t)
	received := make(chan Message, 2*messages)
	o.Received = func(m Message) { received <- m }
	o.Closed = func(err error) { t.Errorf("closed: %v", err) }
	c := open(t, o)
	codes, err := c.Subscribe(ctx, []Subscription{{Filter: "a/#", QoS: qos}, {Filter: "b", QoS: 1, ID: 7}})
	if want := []packet.ReasonCode{packet.ReasonCode(qos), 1}; err != nil || !slices.Equal(codes, want) {
		t.Fatal(codes, err)
	}
	padding := strings.Repeat("x", 1000)
	var receipts []*Receipt
	for i := range messages {
		r, err := c.Send(ctx, Message{Topic: "a/b", Payload: fmt.Append(nil, i, padding), QoS: qos})
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
	for i := range messages {
		m := take(t, received)
		if want := fmt.Sprint(i, padding); string(m.Payload) != want || m.QoS != qos || m.Topic != "a/b" || m.Retain || m.Dup {
			t.Fatalf("received %+v, want %d", m, i)
		}
	}
	if codes, err := c.Unsubscribe(ctx, []string{"a/#"}); err != nil || !slices.Equal(codes, []packet.ReasonCode{packet.Success}) {
		t.Error(codes, err)
	}
	if err := c.Disconnect(Disconnection{}); err != nil {
		t.Error(err)
	}
	// The broker may have answered before the write that it answers has returned and is counted.
	if sent := c.Sent(); sent < messages*uint64(len(padding)) {
		t.Errorf("%d bytes sent", sent)
	}
	if _, err := c.Publish(ctx, Message{Topic: "a", QoS: 1}); err == nil {
		t.Error("published after Disconnect")
	}
	if len(received) > 0 {
		t.Errorf("received more: %+v", <-received)
	}
}

// TestProperties proves that everything that 5.0 carries goes both ways.
func TestProperties(t *testing.T) {
	ctx := soon(t)
	received := make(chan Message, 1)
	expiry, format := uint32(60), byte(1)
	c := open(t, Options{
		Address: broker(t), CleanStart: true, KeepAlive: 90 * time.Second, SessionExpiry: 7, ReceiveMaximum: 9, MaximumPacketSize: 10000,
		UserProperties: []UserProperty{{"a", "b"}}, Received: func(m Message) { received <- m },
	})
	if got := c.Connected(); got.AssignedID == "" || got.ClientID != got.AssignedID || got.KeepAlive != 90 || got.SessionExpiry != 7 || got.SessionPresent || got.MaximumQoS != 2 || !got.RetainAvailable || !got.SharedAvailable {
		t.Errorf("connected: %+v", got)
	}
	if codes, err := c.Subscribe(ctx, []Subscription{{Filter: "t", QoS: 1, ID: 300, RetainAsPublished: true}}, UserProperty{"a", "b"}); err != nil || codes[0] != 1 {
		t.Fatal(codes, err)
	}
	sent := Message{
		Topic: "t", Payload: []byte("hello"), QoS: 1, Retain: true, Expiry: &expiry, PayloadFormat: &format, ContentType: "text/plain",
		ResponseTopic: "answers", CorrelationData: []byte{0, 255}, UserProperties: []UserProperty{{"k", "v"}, {"k", "w"}},
	}
	if p, err := c.Publish(ctx, sent); err != nil || p.Reason != packet.Success {
		t.Fatal(p, err)
	}
	want := sent
	want.SubscriptionIDs = []uint32{300}
	got := take(t, received)
	got.PacketID = 0
	if !reflect.DeepEqual(got, want) {
		t.Errorf("received %+v\nwant     %+v", got, want)
	}
}

// TestWill proves that Close leaves the will to the broker, and Disconnect does
// not.
func TestWill(t *testing.T) {
	address := broker(t)
	for _, v := range versions {
		received := make(chan Message, 10)
		watcher := open(t, Options{Address: address, Version: v, ClientID: "w", CleanStart: true, Received: func(m Message) { received <- m }})
		if _, err := watcher.Subscribe(soon(t), []Subscription{{Filter: "will", QoS: 2}}); err != nil {
			t.Fatal(err)
		}
		will := &Will{Message: Message{Topic: "will", Payload: []byte("of c"), QoS: 1}}
		o := Options{Address: address, Version: v, ClientID: "c", CleanStart: true, Will: will}
		open(t, o).Disconnect(Disconnection{})
		open(t, o).Close()
		if _, err := watcher.Publish(soon(t), Message{Topic: "will", Payload: []byte("end"), QoS: 1}); err != nil {
			t.Fatal(err)
		}
		all := []string{string(take(t, received).Payload), string(take(t, received).Payload)}
		slices.Sort(all)
		if !slices.Equal(all, []string{"end", "of c"}) || len(received) > 0 {
			t.Errorf("%v: received %q, and %d more", v, all, len(received))
		}
		watcher.Disconnect(Disconnection{})
	}
}

// TestEnough proves that messages which are not wanted any more stay in the
// session, and that those received do not.
func TestEnough(t *testing.T) {
	address := broker(t)
	for _, v := range versions {
		for qos := packet.QoS(1); qos <= 2; qos++ {
			ctx := soon(t)
			id := fmt.Sprint(v, qos)
			for first := 0; first < 30; first += 10 {
				var got []string
				full := make(chan struct{})
				c := open(t, Options{
					Address: address, Version: v, ClientID: id, SessionExpiry: 100,
					Received: func(m Message) {
						if got = append(got, string(m.Payload)); len(got) == 10 {
							close(full)
						}
					},
					Enough: func() bool { return len(got) == 10 },
				})
				if first == 0 {
					if _, err := c.Subscribe(ctx, []Subscription{{Filter: id, QoS: qos}}); err != nil {
						t.Fatal(err)
					}
					sender := open(t, Options{Address: address, CleanStart: true})
					for i := range 30 {
						if _, err := sender.Publish(ctx, Message{Topic: id, Payload: fmt.Append(nil, i), QoS: qos}); err != nil {
							t.Fatal(err)
						}
					}
				}
				take(t, full)
				if err := c.Disconnect(Disconnection{}); err != nil {
					t.Fatal(err)
				}
				for i := range got {
					if got[i] != fmt.Sprint(first+i) {
						t.Fatalf("%v QoS %d: received %v, want from %d on", v, qos, got, first)
					}
				}
			}
		}
	}
}

// TestTakenOver proves that Closed is called once, with the broker's reason,
// and that what is under way fails with it.
func TestTakenOver(t *testing.T) {
	address := broker(t)
	closed := make(chan error, 2)
	o := Options{Address: address, ClientID: "c", CleanStart: true, Closed: func(err error) { closed <- err }}
	c := open(t, o)
	o.Closed = nil
	open(t, o)
	err := take(t, closed)
	var refused *Refused
	if !errors.As(err, &refused) || refused.Reason != packet.SessionTakenOver {
		t.Errorf("closed: %v", err)
	}
	if _, err := c.Publish(soon(t), Message{Topic: "t", QoS: 1}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "publish to t: session taken over") {
		t.Errorf("publish: %v", err)
	}
	if err := c.Disconnect(Disconnection{}); !errors.As(err, &refused) || len(closed) > 0 {
		t.Errorf("disconnect: %v", err)
	}
}

// TestTooLarge proves that a message beyond the broker's limit does not cost
// the connection.
func TestTooLarge(t *testing.T) {
	c := open(t, Options{Address: broker(t, config.Given{Key: "limits.packet_size", Values: []string{"1KiB"}}), CleanStart: true})
	var refused *Refused
	if _, err := c.Publish(soon(t), Message{Topic: "t", Payload: make([]byte, 2000), QoS: 1}); !errors.As(err, &refused) || refused.Reason != packet.PacketTooLarge {
		t.Error(err)
	}
	if _, err := c.Publish(soon(t), Message{Topic: "t", Payload: make([]byte, 900), QoS: 1}); err != nil {
		t.Error(err)
	}
}
