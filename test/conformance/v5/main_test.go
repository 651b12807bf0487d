package v5

import (
	"os"
	"strings"
	"testing"

	"midge/internal/packet"
	"midge/test/conformance/mqtt3"
	. "midge/test/conformance/mqtt5"
)

// address is the server's.
var address string

func TestMain(m *testing.M) { os.Exit(mqtt3.Main(m, &address)) }

// unique is a new client identifier, topic level or payload.
var unique = new(mqtt3.Names).Next

// tooDeep is a topic filter that is right, and has more levels than the server
// takes.
var tooDeep = strings.Repeat("x/", 300)

// dial opens a connection and sends nothing.
func dial(t *testing.T) *Client {
	t.Helper()
	return Dial(t, address)
}

// connectWith opens a connection that the server accepts, as p asks for, with a
// client identifier of its own unless p has one.
func connectWith(t *testing.T, p packet.Connect) *Client {
	t.Helper()
	if p.ClientID == nil {
		p.ClientID = []byte(unique())
	}
	return Connect(t, address, p)
}

// connect opens a connection with Clean Start and nothing else.
func connect(t *testing.T) *Client {
	t.Helper()
	return connectWith(t, packet.Connect{CleanStart: true})
}

// connectSession opens a connection whose session outlives it by an hour.
func connectSession(t *testing.T, id string) *Client {
	t.Helper()
	return connectWith(t, packet.Connect{ClientID: []byte(id), Properties: sessionExpiry(3600)})
}

// sessionExpiry is the Session Expiry Interval, in seconds.
func sessionExpiry(seconds uint32) (p packet.Properties) {
	p.SessionExpiry = seconds
	p.Set(packet.PropSessionExpiry)
	return p
}

// newBarrier is a barrier with a topic of its own.
func newBarrier(c *Client) *Barrier { return NewBarrier(c, "barrier/"+unique()) }

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

func TestStatements(t *testing.T) { mqtt3.CheckStatements(t, "v5") }
