//go:build linux

package main

import (
	"bytes"
	"testing"
)

// TestPublishRoundTrip proves that what is appended is split again, whatever follows it, and that no prefix is taken for it.
func TestPublishRoundTrip(t *testing.T) {
	payload := bytes.Repeat([]byte{'x'}, 200) // two bytes of Remaining Length
	for qos := range byte(3) {
		packet := appendPublish(nil, []byte("a/b"), payload, qos, 7)
		for n := range packet {
			if _, _, size, err := split(packet[:n]); size != 0 || err != nil {
				t.Fatalf("qos %d: split of %d bytes = %d, %v; want 0", qos, n, size, err)
			}
		}
		first, body, size, err := split(append(packet, 0xff))
		if err != nil || size != len(packet) {
			t.Fatalf("qos %d: split = %d, %v; want %d", qos, size, err, len(packet))
		}
		gotQoS, topic, id, got, err := splitPublish(first, body)
		if err != nil || gotQoS != qos || string(topic) != "a/b" || !bytes.Equal(got, payload) || qos > 0 && id != 7 {
			t.Errorf("qos %d: got qos %d, topic %q, id %d, %d bytes, %v", qos, gotQoS, topic, id, len(got), err)
		}
	}
}

func TestSplitFaults(t *testing.T) {
	if _, _, _, err := split([]byte{publish, 0xff, 0xff, 0xff, 0xff, 0x01}); err == nil {
		t.Error("Remaining Length of five bytes: no error")
	}
	for _, body := range [][]byte{nil, {0}, {0, 5, 'a'}, {0, 1, 'a', 0}} {
		if _, _, _, _, err := splitPublish(publish|1<<qosShift, body); err == nil {
			t.Errorf("PUBLISH %x: no error", body)
		}
	}
}
