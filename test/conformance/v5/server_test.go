package v5

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"midge/internal/broker"
	"midge/internal/engine/gonet"
	"midge/internal/packet"
	. "midge/test/conformance/mqtt5"
)

// startServer starts a broker of its own for a test that needs settings which
// would disturb others.
func startServer(t *testing.T, cfg broker.Config) (address string) {
	t.Helper()
	cfg.Sys = -1
	b := broker.New(cfg)
	shards := b.Shards()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	threads := gonet.New(shards, gonet.Config{})
	b.Start(threads)
	serving, stop := context.WithCancel(context.Background())
	running, end := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { threads.Run(running) })
	ended.Go(func() { gonet.Serve(serving, threads, shards, ln, gonet.Config{}) })
	t.Cleanup(func() {
		stop()
		end()
		ended.Wait()
	})
	return ln.Addr().String()
}

func TestSettings(t *testing.T) {
	run(t, []test{
		{"v5/MQTT-3.2.2-13/retained will where retained messages are off", func(t *testing.T) {
			c := Dial(t, startServer(t, withoutRetained()))
			c.Send(ConnectPacket(packet.Connect{ClientID: []byte("c"), HasWill: true,
				Will: packet.Will{Topic: []byte("a"), Payload: []byte("x"), Retain: true}}))
			c.ExpectRefused(packet.RetainNotSupported)
		}},
		{"v5/MQTT-3.2.2-14/RETAIN where retained messages are off", func(t *testing.T) {
			c := Connect(t, startServer(t, withoutRetained()), packet.Connect{ClientID: []byte("c")})
			if p := c.Connack.Properties; !p.Has(packet.PropRetainAvailable) || p.RetainAvailable {
				t.Error("CONNACK does not say that retained messages are off")
			}
			c.Send(Packet(PUBLISH|1, "a", 0, []byte("x")))
			c.ExpectDisconnect(packet.RetainNotSupported)
		}},
		{"v5/MQTT-3.2.2-18/alias where there are none", func(t *testing.T) {
			c := Connect(t, startServer(t, broker.Config{Limits: broker.Limits{TopicAliases: -1}}), packet.Connect{ClientID: []byte("c")})
			if c.Connack.Properties.Has(packet.PropTopicAliasMaximum) {
				t.Error("CONNACK has a topic alias maximum")
			}
			c.Send(publish("a", 0x23, 0, 1))
			c.ExpectDisconnect(packet.TopicAliasInvalid)
		}},
		{"v5/MQTT-3.2.2-21/the server's keep-alive is in force", func(t *testing.T) {
			cfg := broker.Config{Session: broker.SessionConfig{KeepAlive: time.Second}}
			c := Connect(t, startServer(t, cfg), packet.Connect{ClientID: []byte("c"), KeepAlive: 600})
			if p := c.Connack.Properties; !p.Has(packet.PropServerKeepAlive) || p.ServerKeepAlive != 1 {
				t.Error("CONNACK does not name a keep-alive of 1 s")
			}
			begun := time.Now()
			c.ExpectDisconnect(packet.KeepAliveTimeout)
			if waited := time.Since(begun); waited < time.Second {
				t.Errorf("closed after %v, before the keep-alive was over", waited)
			}
		}},
		{"v5/MQTT-3.1.2-28/response information", func(t *testing.T) {
			address := startServer(t, broker.Config{Session: broker.SessionConfig{ResponseInformation: "replies/"}})
			if c := Connect(t, address, packet.Connect{ClientID: []byte("a")}); c.Connack.Properties.Has(packet.PropResponseInfo) {
				t.Error("response information without being asked")
			}
			asks := packet.Connect{ClientID: []byte("b")}
			asks.Properties.RequestResponseInfo = true
			asks.Properties.Set(packet.PropRequestResponseInfo)
			if c := Connect(t, address, asks); string(c.Connack.Properties.ResponseInfo) != "replies/" {
				t.Errorf("response information %q, want replies/", c.Connack.Properties.ResponseInfo)
			}
		}},
		{"v5/MQTT-3.1.4-2/a client that access refuses", func(t *testing.T) {
			c := Dial(t, startServer(t, broker.Config{Access: refuseAll{}}))
			c.Send(ConnectPacket(packet.Connect{ClientID: []byte("c")}))
			c.ExpectRefused(packet.BadUserNameOrPassword)
		}},
	})
}

func withoutRetained() broker.Config {
	return broker.Config{Limits: broker.Limits{RetainedMessages: -1}}
}

// refuseAll lets nobody in.
type refuseAll struct{}

func (refuseAll) Connect(broker.Request, func(packet.ReasonCode)) (packet.ReasonCode, bool) {
	return packet.BadUserNameOrPassword, true
}
func (refuseAll) Publish(string, []byte) bool   { return false }
func (refuseAll) Subscribe(string, string) bool { return false }
