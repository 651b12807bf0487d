package v5

import (
	"testing"

	"midge/internal/packet"
	"midge/test/conformance/mqtt3"
	. "midge/test/conformance/mqtt5"
)

// TestWebSocket tests the statements of section 6, whatever the transport of the other tests.
func TestWebSocket(t *testing.T) {
	connect := ConnectPacket(packet.Connect{CleanStart: true})
	run(t, []test{
		{"v5/MQTT-6.0.0-1/binary frames, and no others", func(t *testing.T) { mqtt3.BinaryFrames(t, connect) }},
		{"v5/MQTT-6.0.0-2/frames of any size", func(t *testing.T) { mqtt3.FramesOfAnySize(t, connect) }},
		{"v5/MQTT-6.0.0-4/the subprotocol", func(t *testing.T) { mqtt3.Subprotocol(t, connect) }},
	})
}
