package packet_test

import (
	"fmt"

	"midge/internal/packet"
)

// Split finds a packet in what has arrived, and Decode reads it without a copy.
func ExampleSplit() {
	sent := packet.Publish{Topic: []byte("home/light"), Payload: []byte("on"), QoS: 1, ID: 7}
	arrived := sent.Append(nil, packet.V5)
	arrived = append(arrived, 0x30) // and the beginning of another

	first, body, size, err := packet.Split(arrived, packet.MaxSize)
	fmt.Println(packet.TypeOf(first), size, err)

	var p packet.Publish
	err = p.Decode(packet.V5, first, body)
	fmt.Printf("%s: %s, QoS %d, identifier %d, %v\n", p.Topic, p.Payload, p.QoS, p.ID, err)

	_, _, size, err = packet.Split(arrived[size:], packet.MaxSize)
	fmt.Println(size, err) // bytes are missing
	// Output:
	// PUBLISH 19 <nil>
	// home/light: on, QoS 1, identifier 7, <nil>
	// 0 <nil>
}

// A violation of the standard is a Fault: what to answer, and the clause.
func ExampleFault() {
	var p packet.Publish
	err := p.Decode(packet.V5, 0x36, []byte{0, 1, 'a', 0, 1, 0}) // QoS 3
	fmt.Println(err)
	// Output: PUBLISH with QoS 3 (reason 0x81, v5/MQTT-3.3.1-4)
}
