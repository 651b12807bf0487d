package v311

import (
	"testing"

	. "midge/test/conformance/mqtt3"
)

// TestWebSocket tests the statements of section 6, whatever the transport of the other tests.
func TestWebSocket(t *testing.T) {
	connect := connectPacket(Options{})
	run(t, []test{
		{"v311/MQTT-6.0.0-1/binary frames, and no others", func(t *testing.T) { BinaryFrames(t, connect) }},
		{"v311/MQTT-6.0.0-2/frames of any size", func(t *testing.T) { FramesOfAnySize(t, connect) }},
		{"v311/MQTT-6.0.0-4/the subprotocol", func(t *testing.T) { Subprotocol(t, connect) }},
	})
}
