//go:build linux

package main

import (
	"encoding/binary"
	"errors"
)

// First bytes of the MQTT 3.1.1 packets that the generator knows, flags included where they are fixed.
const (
	connect     = 0x10
	connack     = 0x20
	publish     = 0x30
	puback      = 0x40
	pubrec      = 0x50
	pubrel      = 0x62
	pubcomp     = 0x70
	subscribe   = 0x82
	suback      = 0x90
	disconnect  = 0xe0
	typeMask    = 0xf0
	qosShift    = 1
	maxLength   = 4 // bytes of the Remaining Length
	accepted    = 0 // CONNACK return code
	subackFault = 0x80
)

var errMalformed = errors.New("malformed packet from the broker")

// split finds the packet that b begins with; size is 0 while bytes are missing. body is borrowed from b.
func split(b []byte) (first byte, body []byte, size int, err error) {
	length := 0
	for i := 1; i < len(b); i++ {
		if i > maxLength {
			return 0, nil, 0, errMalformed
		}
		length |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			size = i + 1 + length
			if len(b) < size {
				return 0, nil, 0, nil
			}
			return b[0], b[i+1 : size], size, nil
		}
	}
	return 0, nil, 0, nil
}

// splitPublish returns the parts of a PUBLISH, borrowed from body; id is 0 at QoS 0.
func splitPublish(first byte, body []byte) (qos byte, topic []byte, id uint16, payload []byte, err error) {
	qos = first >> qosShift & 3
	if len(body) < 2 {
		return 0, nil, 0, nil, errMalformed
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	if len(body) < n || qos > 0 && len(body) < n+2 {
		return 0, nil, 0, nil, errMalformed
	}
	topic, payload = body[2:n], body[n:]
	if qos > 0 {
		id = binary.BigEndian.Uint16(payload)
		payload = payload[2:]
	}
	return qos, topic, id, payload, nil
}

func appendLength(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// appendConnect appends a CONNECT without keep-alive, with a clean session or one that is kept.
func appendConnect(dst []byte, clientID string, clean bool) []byte {
	flags := byte(0)
	if clean {
		flags = 0x02
	}
	dst = appendLength(append(dst, connect), 10+2+len(clientID))
	dst = append(dst, 0, 4, 'M', 'Q', 'T', 'T', 4, flags, 0, 0)
	return appendText(dst, clientID)
}

func appendSubscribe(dst []byte, id uint16, qos byte, filters []string) []byte {
	n := 2
	for _, f := range filters {
		n += 3 + len(f)
	}
	dst = appendLength(append(dst, subscribe), n)
	dst = binary.BigEndian.AppendUint16(dst, id)
	for _, f := range filters {
		dst = append(appendText(dst, f), qos)
	}
	return dst
}

func appendPublish(dst, topic, payload []byte, qos byte, id uint16) []byte {
	n := 2 + len(topic) + len(payload)
	if qos > 0 {
		n += 2
	}
	dst = appendLength(append(dst, publish|qos<<qosShift), n)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(topic)))
	dst = append(dst, topic...)
	if qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	return append(dst, payload...)
}

// appendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP, whose first byte is given.
func appendAck(dst []byte, first byte, id uint16) []byte {
	return append(dst, first, 2, byte(id>>8), byte(id))
}
