package broker

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/memstore"
	"midge/internal/topic"
)

// answerer is a client of a load: it takes what comes, and has the answers ready.
type answerer struct {
	*peer
	answers []byte
	got     int // PUBLISH packets
}

// Send implements engine.Conn. Packets to be answered are below 128 bytes.
func (a *answerer) Send(head, body []byte) {
	if len(body) > 0 {
		a.got++ // QoS 0
		return
	}
	for len(head) > 0 && head[1] < 0x80 {
		id := 2
		if packet.TypeOf(head[0]) == packet.PUBLISH {
			a.got++
			id = 4 + int(head[3])
		}
		answer := byte(0)
		switch head[0] >> 1 {
		case byte(packet.PUBLISH)<<3 | 1:
			answer = byte(packet.PUBACK) << 4
		case byte(packet.PUBLISH)<<3 | 2:
			answer = byte(packet.PUBREC) << 4
		case byte(packet.PUBREC) << 3:
			answer = byte(packet.PUBREL)<<4 | 2
		case byte(packet.PUBREL)<<3 | 1:
			answer = byte(packet.PUBCOMP) << 4
		}
		if answer != 0 {
			a.answers = append(a.answers, answer, 2, head[id], head[id+1])
		}
		head = head[2+int(head[1]):]
	}
}

// bench is a broker with one shard and its clients.
type bench struct {
	*world
	s       *shard
	clients []*answerer
	turns   int // without an answer, until all is done: what waits for a store takes some
}

func newBench(b testing.TB, change ...func(*setup)) *bench {
	w := newWorld(b, quietly(1, change...))
	return &bench{world: w, s: w.b.shards[0], turns: 1}
}

// newStoredBench is newBench with a store.
func newStoredBench(b *testing.B) *bench {
	w, _ := storedWorld(b, memstore.New(), quietly(1), store.Config{Clock: store.NewClock(time.Unix(1_800_000_000, 0), time.Second)}, time.Second, true)
	w.load(0)
	return &bench{world: w, s: w.b.shards[0], turns: 4}
}

// join connects a client, with a subscription if filter is not empty.
func (l *bench) join(id, filter string, qos packet.QoS, clean bool) *answerer {
	a := &answerer{peer: &peer{w: l.world, version: packet.V311, moveTo: -1}}
	l.enter(a, id, filter, qos, clean)
	return a
}

// enter is join with a peer that exists.
func (l *bench) enter(a *answerer, id, filter string, qos packet.QoS, clean bool) {
	l.s.Open(a)
	a.says((&packet.Connect{Version: packet.V311, ClientID: []byte(id), CleanStart: clean}).Append(nil))
	for range l.turns {
		l.s.Turn(l.now)
	}
	if filter != "" {
		a.says((&packet.Subscribe{ID: 7, Subscriptions: []packet.Subscription{{Filter: []byte(filter), QoS: qos}}}).Append(nil, packet.V311))
	}
	l.clients = append(l.clients, a)
	l.s.Turn(l.now)
}

// says hands the client's bytes to the shard, in turns if it wants that.
func (a *answerer) says(in []byte) {
	s := a.w.b.shards[0]
	for {
		in = in[s.Data(a, in):]
		if len(in) == 0 {
			return
		}
		s.Turn(a.w.now)
	}
}

// settle takes the answers of all clients to the shard until there are none.
func (l *bench) settle() {
	for quiet := 0; quiet < l.turns; quiet++ {
		for range len(l.posts) {
			(<-l.posts)()
		}
		l.s.Turn(l.now)
		for _, a := range l.clients {
			if in := a.answers; len(in) > 0 {
				a.answers = a.answers[len(in):]
				a.says(in)
				if len(a.answers) == 0 {
					a.answers = in[:0]
				}
				quiet = -1
			}
		}
	}
}

func publishes(topic string, qos packet.QoS, n int) (all []byte) {
	for i := range n {
		all = (&packet.Publish{Topic: []byte(topic), Payload: make([]byte, 16), QoS: qos, ID: packet.ID(i + 1)}).Append(all, packet.V311)
	}
	return all
}

// BenchmarkFanOut is one message to 1,000 clients, with their answers.
func BenchmarkFanOut(b *testing.B) {
	for qos := range packet.QoS(3) {
		b.Run(fmt.Sprint("qos=", qos), func(b *testing.B) {
			l := newBench(b)
			pub := l.join("pub", "", 0, true)
			for i := range 1000 {
				l.join(fmt.Sprint(i), "a/b", qos, true)
			}
			m := publishes("a/b", qos, 1)
			b.ReportAllocs()
			for b.Loop() {
				pub.says(m)
				l.settle()
			}
			if got := l.clients[1000].got; got != b.N {
				b.Fatalf("%d of %d messages came", got, b.N)
			}
		})
	}
}

// rules are Permissions with an access list, which is looked through.
type rules []string

// Connect implements Authenticator.
func (r rules) Connect(_ Request, done func(Verdict)) { done(Verdict{Permissions: r}) }

func (r rules) Publish(name []byte, _ packet.QoS, _ bool) bool { return r.allow(string(name)) }
func (r rules) Subscribe(filter string) bool                   { return r.allow(filter) }
func (r rules) Receive(name []byte) bool                       { return r.allow(string(name)) }

func (r rules) allow(name string) bool {
	return slices.ContainsFunc(r, func(filter string) bool { return topic.Match(filter, name) })
}

// thousandRules allow what the last of them says.
func thousandRules() (r rules) {
	for i := range 999 {
		r = append(r, fmt.Sprintf("site/%d/#", i))
	}
	return append(r, "a/+")
}

// BenchmarkPermissions is BenchmarkPairs with an access list of 1,000 rules, on
// one topic and on some in turn.
func BenchmarkPermissions(b *testing.B) {
	for _, topics := range []int{1, 10} {
		for _, listed := range []bool{false, true} {
			b.Run(fmt.Sprintf("topics=%d/rules=%t", topics, listed), func(b *testing.B) {
				l := newBench(b, func(c *setup) {
					if listed {
						c.Authenticator = thousandRules()
					}
				})
				pub, sub := l.join("pub", "", 0, true), l.join("sub", "a/+", 0, true)
				var m []byte
				for i := range 10 {
					m = append(m, publishes(fmt.Sprint("a/", i%topics), 0, 1)...)
				}
				b.ReportAllocs()
				for b.Loop() {
					pub.says(m)
					l.settle()
				}
				if sub.got != 10*b.N {
					b.Fatalf("%d of %d messages came", sub.got, 10*b.N)
				}
			})
		}
	}
}

// BenchmarkPairs is ten messages under way from a client to another.
func BenchmarkPairs(b *testing.B) {
	for qos := range packet.QoS(3) {
		b.Run(fmt.Sprint("qos=", qos), func(b *testing.B) { newBench(b).pair(b, qos, true) })
		if qos > 0 {
			b.Run(fmt.Sprint("stored/qos=", qos), func(b *testing.B) { newStoredBench(b).pair(b, qos, false) })
		}
	}
}

func (l *bench) pair(b *testing.B, qos packet.QoS, clean bool) {
	pub, sub := l.join("pub", "", 0, true), l.join("sub", "a/b", qos, clean)
	m := publishes("a/b", qos, 10)
	b.ReportAllocs()
	for b.Loop() {
		pub.says(m)
		l.settle()
	}
	if sub.got != 10*b.N {
		b.Fatalf("%d of %d messages came", sub.got, 10*b.N)
	}
}

// BenchmarkPersistent is 100 messages for a client that is away, and comes
// back for them.
func BenchmarkPersistent(b *testing.B) {
	for qos := packet.QoS(1); qos < 3; qos++ {
		b.Run(fmt.Sprint("qos=", qos), func(b *testing.B) { newBench(b).persistent(b, qos) })
		b.Run(fmt.Sprint("stored/qos=", qos), func(b *testing.B) { newStoredBench(b).persistent(b, qos) })
	}
}

func (l *bench) persistent(b *testing.B, qos packet.QoS) {
	pub, sub := l.join("pub", "", 0, true), l.join("sub", "a/b", qos, false)
	m := publishes("a/b", qos, 100)
	b.ReportAllocs()
	for b.Loop() {
		l.s.Closed(sub, nil)
		pub.says(m)
		l.clients = l.clients[:1]
		l.settle()
		sub = l.join("sub", "", 0, false)
		l.settle()
		if sub.got != 100 {
			b.Fatalf("%d of 100 messages came", sub.got)
		}
	}
}

// BenchmarkRetained is a client that subscribes to all of 100,000 retained messages:
// a message, and how many of them a turn sends at most. Others wait for that.
func BenchmarkRetained(b *testing.B) {
	const n = 100_000
	l := newBench(b, func(c *setup) { c.Limits.PendingBytes = 64 << 20 })
	pub := l.join("pub", "", 0, true)
	for i := range n {
		m := packet.Publish{Topic: fmt.Appendf(nil, "site/%d/dev/%d/state", i%100, i), Payload: make([]byte, 16), Retain: true}
		pub.says(m.Append(nil, packet.V311))
		l.s.Turn(l.now)
	}
	b.ReportAllocs()
	var messages, maxTurn uint64
	for i := 0; b.Loop(); i++ {
		before := l.s.count.PublishSent
		sub := l.join(fmt.Sprint("sub", i), "", 0, true)
		sub.says((&packet.Subscribe{ID: 7, Subscriptions: []packet.Subscription{{Filter: []byte("#")}}}).Append(nil, packet.V311))
		for len(l.s.walks.order) > 0 {
			at := l.s.count.PublishSent
			l.now++
			l.s.Turn(l.now)
			maxTurn = max(maxTurn, l.s.count.PublishSent-at)
		}
		if got := l.s.count.PublishSent - before; got != n {
			b.Fatalf("%d of %d messages came", got, n)
		}
		messages += n
		sub.says([]byte{0xe0, 0}) // DISCONNECT
		l.s.Turn(l.now)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(messages), "ns/message")
	b.ReportMetric(float64(maxTurn), "messages/turn")
}

// TestRetainedIsNotCopied proves that retained messages in flight to a client are those that
// are retained: copies would be garbage, a collection for every million of them.
func TestRetainedIsNotCopied(t *testing.T) {
	const n = 5000
	l := newBench(t)
	pub := l.join("pub", "", 0, true)
	for i := range n {
		m := packet.Publish{Topic: fmt.Appendf(nil, "a/%d", i), Payload: make([]byte, 16), QoS: 1, ID: 1, Retain: true}
		pub.says(m.Append(nil, packet.V311))
		l.s.Turn(l.now)
	}
	l.clients = nil
	for qos := range packet.QoS(2) {
		sub := l.join(fmt.Sprint("sub", qos), "", 0, true)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		sub.says((&packet.Subscribe{ID: 7, Subscriptions: []packet.Subscription{{Filter: []byte("a/#"), QoS: qos}}}).Append(nil, packet.V311))
		for len(l.s.walks.order) > 0 {
			l.settle()
		}
		if runtime.ReadMemStats(&after); sub.got != n || after.Mallocs-before.Mallocs > n/2 {
			t.Errorf("QoS %d: %d of %d messages, %d allocations", qos, sub.got, n, after.Mallocs-before.Mallocs)
		}
	}
}

// BenchmarkConnect is a client that connects, subscribes, and leaves.
func BenchmarkConnect(b *testing.B) {
	l := newBench(b)
	b.ReportAllocs()
	for b.Loop() {
		a := l.join("a", "a/b", 0, true)
		a.says([]byte{0xe0, 0})
		l.s.Closed(a, nil)
		l.clients = l.clients[:0]
	}
}

// BenchmarkIdle is the memory of connections that do nothing, without that of
// the engine and of the benchmark.
func BenchmarkIdle(b *testing.B) {
	const n = 5000
	for b.Loop() {
		l, m := newBench(b), [3]runtime.MemStats{}
		peers := make([]answerer, n)
		for i := range peers {
			peers[i].peer = &peer{w: l.world, version: packet.V311, moveTo: -1}
		}
		runtime.GC()
		runtime.ReadMemStats(&m[0])
		for i := range peers {
			l.enter(&peers[i], fmt.Sprint("client-", i), fmt.Sprint("topic/", i), 0, true)
		}
		l.clients = nil
		runtime.ReadMemStats(&m[1])
		runtime.GC()
		runtime.ReadMemStats(&m[2])
		b.ReportMetric(float64(m[2].HeapAlloc-m[0].HeapAlloc)/n, "B/client")
		b.ReportMetric(float64(m[1].TotalAlloc-m[0].TotalAlloc)/n, "allocated-B/client")
		runtime.KeepAlive(peers)
		runtime.KeepAlive(l)
	}
}

// BenchmarkFilters is the memory of subscriptions, 500 for each client.
func BenchmarkFilters(b *testing.B) {
	const n, each = 40, 500
	for b.Loop() {
		l, m := newBench(b), [3]runtime.MemStats{}
		subscribes := make([][]byte, n)
		for i := range subscribes {
			p := packet.Subscribe{ID: 7}
			for j := range each {
				p.Subscriptions = append(p.Subscriptions, packet.Subscription{Filter: fmt.Appendf(nil, "site/%d/+/device/%d/#", i, j)})
			}
			subscribes[i] = p.Append(nil, packet.V311)
			l.join(fmt.Sprint(i), "", 0, true)
		}
		runtime.GC()
		runtime.ReadMemStats(&m[0])
		for i, p := range subscribes {
			l.clients[i].says(p)
		}
		runtime.ReadMemStats(&m[1])
		runtime.GC()
		runtime.ReadMemStats(&m[2])
		b.ReportMetric(float64(m[2].HeapAlloc-m[0].HeapAlloc)/n/each, "B/filter")
		b.ReportMetric(float64(m[1].TotalAlloc-m[0].TotalAlloc)/n/each, "allocated-B/filter")
		runtime.KeepAlive(subscribes)
		runtime.KeepAlive(l)
	}
}
