//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

const (
	wildcardClients    = 200
	wildcardPublishers = 20
	wildcardFilters    = 100000
	wildcardValues     = 16 // of a level that a + stands for
	wildcardGroups     = 100
)

// wildcards spreads filters over clients and publishes at QoS 0. The filters have four shapes, each with a wildcard;
// every topic matches exactly one of them, anywhere in the tree, with random values for the wildcard.
func wildcards(l *loop, window uint64, size int) (*flows, error) {
	clients := make([]client, wildcardClients)
	for i := range clients {
		clients[i].id = fmt.Sprintf("sub-%d", i)
	}
	for i := range wildcardFilters {
		owner := &clients[i%wildcardClients]
		owner.filters = append(owner.filters, wildcardFilter(i))
	}
	if _, err := l.connect(clients); err != nil {
		return nil, err
	}
	chance := rand.New(rand.NewPCG(1, 2)) // the same topics for every broker
	s := &flows{loop: l, window: window, payload: make([]byte, max(size, payloadHead))}
	s.pick = func(f *flow) {
		f.topic = appendWildcardTopic(f.topic[:0], chance.IntN(wildcardFilters), chance.IntN(wildcardValues))
	}
	s.check = func(c *conn, topic []byte) bool { return c.index == filterOf(topic)%wildcardClients }
	publishers := make([]client, wildcardPublishers)
	for i := range publishers {
		publishers[i].id = fmt.Sprintf("pub-%d", i)
		s.list = append(s.list, new(flow))
	}
	return s, s.connect(publishers)
}

func wildcardFilter(i int) string {
	group := i / 4 % wildcardGroups
	switch i % 4 {
	case 0:
		return fmt.Sprintf("site/%d/+/d%d", group, i)
	case 1:
		return fmt.Sprintf("site/+/g%d/d%d/#", group, i)
	case 2:
		return fmt.Sprintf("+/area/%d/d%d", group, i)
	default:
		return fmt.Sprintf("site/%d/%d/d%d/#", group, group, i)
	}
}

// appendWildcardTopic appends a topic that filter i matches, and no other, because the number i is part of all filters.
func appendWildcardTopic(dst []byte, i, value int) []byte {
	group, v, n := int64(i/4%wildcardGroups), int64(value), int64(i)
	number := func(prefix string, n int64) { dst = strconv.AppendInt(append(dst, prefix...), n, 10) }
	switch i % 4 {
	case 0:
		number("site/", group)
		number("/v", v)
		number("/d", n)
	case 1:
		number("site/v", v)
		number("/g", group)
		number("/d", n)
		number("/v", v)
	case 2:
		number("v", v)
		number("/area/", group)
		number("/d", n)
	default:
		number("site/", group)
		number("/", group)
		number("/d", n)
		number("/v", v)
	}
	return dst
}

// filterOf returns the number of the filter that a topic was made for: what follows its only d. area has none.
func filterOf(topic []byte) int {
	n, seen := 0, false
	for _, b := range topic {
		switch {
		case b == 'd':
			seen = true
		case seen && b == '/':
			return n
		case seen:
			n = n*10 + int(b-'0')
		}
	}
	return n
}
