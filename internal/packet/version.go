package packet

import "fmt"

// Version is a protocol level as CONNECT carries it.
type Version uint8

// The versions of MQTT, by protocol level.
const (
	V31  Version = 3 // MQTT 3.1, protocol name MQIsdp
	V311 Version = 4 // MQTT 3.1.1
	V5   Version = 5 // MQTT 5.0
)

// String returns the version as conformance tests write it: v31, v311, v5.
func (v Version) String() string {
	switch v {
	case V31:
		return "v31"
	case V311:
		return "v311"
	case V5:
		return "v5"
	}
	return fmt.Sprintf("level %d", uint8(v))
}
