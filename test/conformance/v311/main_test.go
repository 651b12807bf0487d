package v311

import (
	"os"
	"testing"

	"midge/internal/packet"
	. "midge/test/conformance/mqtt3"
)

// address is the server's.
var address string

func TestMain(m *testing.M) { os.Exit(Main(m, &address)) }

// unique is a new client identifier, topic level or payload.
var unique = new(Names).Next

// dial opens a connection and sends nothing.
func dial(t *testing.T) *Client {
	t.Helper()
	return Dial(t, address)
}

// connectPresent opens a connection that the server accepts, with a client
// identifier of its own unless o has one.
func connectPresent(t *testing.T, o Options) (c *Client, present bool) {
	t.Helper()
	o.Version = packet.V311
	if o.ID == "" {
		o.ID = unique()
	}
	return Connect(t, address, o)
}

// connect is connectPresent without looking at Session Present.
func connect(t *testing.T, o Options) *Client {
	t.Helper()
	c, _ := connectPresent(t, o)
	return c
}

// newBarrier is a barrier with a topic of its own.
func newBarrier(c *Client) *Barrier { return NewBarrier(c, "barrier/"+unique()) }

// connectPacket is the CONNECT packet that o asks for, without client
// identifier if o has none.
func connectPacket(o Options) []byte {
	o.Version = packet.V311
	return o.Packet()
}

// connectHead is CONNECT's variable header, with a keep-alive of an hour so
// that no test meets it by chance.
func connectHead(flags int) []byte { return Join("MQTT", 4, flags, 0x0e, 0x10) }

// retainNow is Retain that returns after the server has processed the message,
// whatever its QoS.
func retainNow(c *Client, topic, payload string, qos byte) {
	c.Retain(topic, payload, qos)
	c.Ping()
}

// test is a test that is named by version and statement.
type test struct {
	name string
	run  func(t *testing.T)
}

// run runs tests in parallel.
func run(t *testing.T, tests []test) {
	t.Parallel()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t)
		})
	}
}

func TestStatements(t *testing.T) { CheckStatements(t, "v311") }
