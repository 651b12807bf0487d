// Package enginetest is the suite that every engine passes: it runs shards of
// its own on an engine and talks to them over TCP. It is for tests only.
//
// Files, from the bottom up: world.go, shard.go, moves.go, options_linux.go,
// options_other.go, input.go, turns.go, ends.go, conns.go, listeners.go, enginetest.go.
package enginetest

import (
	"context"
	"testing"

	"midge/internal/engine"
)

// Engine is an engine under test.
type Engine struct {
	Runner engine.Runner
	At     engine.Listener             // as it was told to accept; has a number and a name
	Addr   string                      // where it accepts connections
	Run    func(context.Context) error // runs it with its listeners until the context is cancelled

	// Dial connects to it with the protocol that it speaks; nil means plain TCP.
	Dial func(addr string) (Client, error)

	// Least is how much it reads at once at the least, in bytes; 0 means 4 KiB.
	Least int

	// Listens: Runner has the methods of listens, and its connections come by them.
	Listens bool

	// TLS: Conn.Peer tells of TLS.
	TLS bool
}

// New makes an engine for shards. It is called once for each test.
type New func(t *testing.T, shards []engine.Shard) Engine

// Run runs the suite.
func Run(t *testing.T, newEngine New) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, New)
	}{
		{"echo", testEcho},
		{"parts", testParts},
		{"large", testLarge},
		{"expect", testExpect},
		{"input buffer", testInputBuffer},
		{"throttle", testThrottle},
		{"slow reader", testSlowReader},
		{"pause", testPause},
		{"move", testMove},
		{"move from a post", testMovePosted},
		{"move of a broken connection", testMoveBroken},
		{"peer", testPeer},
		{"close by shard", testCloseByShard},
		{"close by peer", testCloseByPeer},
		{"reset by peer", testReset},
		{"close of another", testCloseOfAnother},
		{"keep-alive", testKeepAlive},
		{"last word", testLastWord},
		{"last input", testLastInput},
		{"ends without turns", testIdleEnds},
		{"many linger", testManyLinger},
		{"exhaust", testExhaust},
		{"wake", testWake},
		{"post", testPost},
		{"timer", testTimer},
		{"fan-out", testFanOut},
		{"crowd", testCrowd},
		{"storm", testStorm},
		{"listeners", testListeners},
		{"listener storm", testListenerStorm},
		{"decorate", testDecorate},
		{"stop", testStop},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newEngine) })
	}
}
