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

// TestWildcardTopics proves that each topic matches the filter that it was made for, and no other one of a sample.
func TestWildcardTopics(t *testing.T) {
	for i := 0; i < wildcardFilters; i += 977 {
		topic := appendWildcardTopic(nil, i, i%wildcardValues)
		if got := filterOf(topic); got != i {
			t.Errorf("filterOf(%s) = %d, want %d", topic, got, i)
		}
		for j := 0; j < wildcardFilters; j += 977 {
			if got := matches(wildcardFilter(j), string(topic)); got != (i == j) {
				t.Errorf("filter %s, topic %s: match is %v", wildcardFilter(j), topic, got)
			}
		}
	}
}

// matches is the rule of section 4.7 as simply as it can be said.
func matches(filter, topic string) bool {
	f, t := bytes.Split([]byte(filter), []byte("/")), bytes.Split([]byte(topic), []byte("/"))
	for i, level := range f {
		if string(level) == "#" {
			return true
		}
		if i >= len(t) || string(level) != "+" && !bytes.Equal(level, t[i]) {
			return false
		}
	}
	return len(f) == len(t)
}
