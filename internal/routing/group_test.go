package routing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"midge/internal/message"
	"midge/internal/packet"
)

// team is a group whose members are on as many shards.
type team struct {
	n       *Interest[*someone]
	g       *Group[*someone]
	clients []*someone
}

func newTeam(members int, with func(i int, m *Member[*someone])) *team {
	tm := &team{n: NewInterest[*someone]()}
	for i := range members {
		c := &someone{name: fmt.Sprint(i)}
		m := Member[*someone]{Client: c, Consumer: &c.Consumer, Shard: i, QoS: 2}
		c.Connect(10, 0)
		if with != nil {
			with(i, &m)
		}
		tm.g = tm.n.Join(GroupName{Share: "g", Filter: "t"}, m, 0)
		tm.clients = append(tm.clients, c)
	}
	return tm
}

// pick picks for a message of a QoS, and returns the member's name.
func (tm *team) pick(t *testing.T, qos packet.QoS, from Origin, by Sharing, want Choice) string {
	t.Helper()
	to, c := tm.g.Pick(&message.Message{Topic: []byte("t"), Payload: []byte("payload"), QoS: qos}, from, by)
	if c != want {
		t.Fatalf("choice %d, want %d", c, want)
	}
	if c != ToMember && c != ToAway {
		return ""
	}
	return to.Client.name
}

// TestStrategies picks members one after the other, as each strategy says.
func TestStrategies(t *testing.T) {
	for by, want := range map[Strategy]string{RoundRobin: "012012", Sticky: "000000", LeastInflight: "012012"} {
		tm := newTeam(3, nil)
		got := ""
		for range 6 {
			got += tm.pick(t, 1, FromPublisher, Sharing{by, 10}, ToMember)
		}
		if got != want {
			t.Errorf("strategy %d: %s, want %s", by, got, want)
		}
	}
	tm := newTeam(3, nil)
	by := Sharing{LeastInflight, 10}
	for i, n := range []int{3, 1, 2} {
		tm.clients[i].Account(n)
	}
	if got := tm.pick(t, 1, FromPublisher, by, ToMember); got != "1" {
		t.Errorf("with the fewest in flight: %s, want 1", got)
	}
}

// TestRoom fills the windows of members: those with room come first, and when
// nobody has any, the message waits in the queue if there is a lasting member.
func TestRoom(t *testing.T) {
	for _, lasting := range []bool{false, true} {
		tm := newTeam(2, func(i int, m *Member[*someone]) {
			m.Lasting = lasting
			m.Client.Connect(2, 0)
		})
		by := Sharing{RoundRobin, 10}
		for range 4 {
			tm.pick(t, 1, FromPublisher, by, ToMember)
		}
		want := ToMember // it waits with a member
		if lasting {
			want = ToQueue
		}
		tm.pick(t, 1, FromPublisher, by, want)
		tm.pick(t, 0, FromPublisher, by, ToMember)
	}
}

// TestQueueComesFirst puts what is published behind what waits, also while that
// is on its way, as long as somebody takes it.
func TestQueueComesFirst(t *testing.T) {
	tm := newTeam(1, func(i int, m *Member[*someone]) { m.Lasting = true })
	by := Sharing{RoundRobin, 1}
	tm.pick(t, 1, FromPublisher, by, ToMember)
	tm.pick(t, 1, FromPublisher, by, ToQueue)
	c := tm.clients[0]
	c.Arrived() // it has room again
	tm.pick(t, 1, FromPublisher, by, ToQueue)
	for range 2 {
		if !tm.g.Arrived() {
			t.Fatal("the group has ended")
		}
	}
	tm.g.Waiting(2)
	tm.pick(t, 1, FromPublisher, by, ToQueue)
	tm.pick(t, 1, FromQueue, by, ToMember)
	tm.pick(t, 1, FromQueue, by, ToNobody) // it is full
	c.Account(1)
	c.Arrived()
	if tm.g.Want(by); !c.Account(0) {
		t.Error("it has room, and does not tell")
	}
	if c.Account(0) {
		t.Error("it tells twice")
	}
	c.Disconnect()
	if tm.g.Draining() {
		t.Error("nobody is connected")
	}
}

// TestRefusals tells why nobody gets a message.
func TestRefusals(t *testing.T) {
	by := Sharing{RoundRobin, 10}
	for name, tt := range map[string]struct {
		with func(i int, m *Member[*someone])
		want Choice
	}{
		"v5/MQTT-3.1.2-24/too large": {func(_ int, m *Member[*someone]) { m.Client.Connect(10, 8) }, TooLarge},
		"not allowed":                {func(_ int, m *Member[*someone]) { m.Identity = &Identity{Permissions: &rule{}} }, NotAllowed},
		"away":                       {func(_ int, m *Member[*someone]) { m.Client.Disconnect() }, ToAway},
		"away with QoS 0":            {func(_ int, m *Member[*someone]) { m.Client.Disconnect(); m.QoS = 0 }, ToNobody},
		"away, with a queue":         {func(_ int, m *Member[*someone]) { m.Client.Disconnect(); m.Lasting = true }, ToQueue},
	} {
		t.Run(name, func(t *testing.T) { newTeam(2, tt.with).pick(t, 1, FromPublisher, by, tt.want) })
	}
}

// TestMembers joins and leaves: the group ends with its last member, and
// another may begin under its name.
func TestMembers(t *testing.T) {
	tm := newTeam(3, func(i int, m *Member[*someone]) { m.Persistent = i == 1 })
	g := tm.g
	if m, ok := g.Member(tm.clients[2]); !ok || m.Shard != 2 || !g.Persists() {
		t.Error("a member is not there, or nothing is persisted")
	}
	if again := tm.n.Join(g.Name, Member[*someone]{Client: tm.clients[1], Consumer: &tm.clients[1].Consumer, QoS: 1}, 0); again != g || g.Persists() {
		t.Error("its new options are not in force")
	}
	for i, c := range tm.clients {
		if g.Ended() || tm.n.Group(g.Name) != g {
			t.Fatalf("the group has ended with member %d", i)
		}
		tm.n.Leave(g, c)
		tm.n.Leave(g, c)
	}
	if !g.Ended() || !g.Busy() || g.TakesBack() || g.Arrived() || tm.n.Group(g.Name) != nil {
		t.Error("the group has not ended")
	}
	if c := tm.clients[0]; tm.n.Join(g.Name, Member[*someone]{Client: c, Consumer: &c.Consumer}, 0) == g {
		t.Error("a group that has ended goes on")
	}
}

// TestShareOfBacklog gives each member its part of what waits, and minShare in
// any case.
func TestShareOfBacklog(t *testing.T) {
	for waiting, want := range map[int]int{10: minShare, 400: 100} {
		tm := newTeam(4, func(_ int, m *Member[*someone]) { m.Lasting = true; m.Client.Connect(1000, 0) })
		tm.g.Waiting(waiting)
		by, got := Sharing{Sticky, 1000}, 0
		for {
			if _, c := tm.g.Pick(&message.Message{Topic: []byte("t"), QoS: 1}, FromQueue, by); c != ToMember {
				break
			}
			got++
		}
		if got != want {
			t.Errorf("%d wait: one member gets %d, want %d", waiting, got, want)
		}
	}
}

// TestManyMembers lets members of a large group come and go at random. Each that
// stays is found, gets a message in each round, and none that has left gets one.
func TestManyMembers(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	tm := newTeam(1, nil)
	for round := range 40 {
		for range r.IntN(60) {
			if c := (&someone{name: fmt.Sprint("more ", len(tm.clients))}); r.IntN(2) == 0 {
				c.Connect(10, 0)
				tm.n.Join(tm.g.Name, Member[*someone]{Client: c, Consumer: &c.Consumer, QoS: 2}, 0)
				tm.clients = append(tm.clients, c)
			} else if n := len(tm.clients); n > 1 {
				i := r.IntN(n)
				gone := tm.clients[i]
				tm.n.Leave(tm.g, gone)
				if _, ok := tm.g.Member(gone); ok {
					t.Fatal("a member is there that has left")
				}
				tm.clients = slices.Delete(tm.clients, i, i+1)
			}
		}
		got := map[string]bool{}
		for range tm.clients {
			got[tm.pick(t, 0, FromPublisher, Sharing{RoundRobin, 10}, ToMember)] = true
		}
		for _, c := range tm.clients {
			if m, ok := tm.g.Member(c); !ok || m.Client != c {
				t.Fatalf("round %d: member %q is not found", round, c.name)
			}
			if !got[c.name] {
				t.Fatalf("round %d: member %q of %d got nothing", round, c.name, len(tm.clients))
			}
		}
	}
}

// TestFewestOfMany picks from a large group: one with less to do than others near it,
// the one that has room for the message if there is a queue, and a full one if there is none.
func TestFewestOfMany(t *testing.T) {
	const members, free = 1000, 900
	for _, lasting := range []bool{false, true} {
		tm := newTeam(members, func(i int, m *Member[*someone]) {
			m.Lasting = lasting
			if i != free {
				m.Client.Account(10)
			}
		})
		want := "0"
		if lasting {
			want = fmt.Sprint(free)
		}
		if got := tm.pick(t, 1, FromPublisher, Sharing{RoundRobin, 10}, ToMember); got != want {
			t.Errorf("lasting %v: member %s, want %s", lasting, got, want)
		}
	}
	tm := newTeam(members, func(i int, m *Member[*someone]) {
		if i%lookAt != 7 {
			m.Client.Account(1)
		}
	})
	for range members / lookAt {
		if got := tm.pick(t, 1, FromPublisher, Sharing{LeastInflight, 10}, ToMember); got != tm.clients[tm.g.turn].name || tm.g.turn%lookAt != 7 {
			t.Errorf("member %s has more to do than others near it", got)
		}
	}
}

// BenchmarkPick picks members of small and large groups.
func BenchmarkPick(b *testing.B) {
	for _, members := range []int{8, 1000, 8000} {
		for by, strategy := range []string{"RoundRobin", "Sticky", "LeastInflight"} {
			for _, state := range []string{"idle", "full", "away"} {
				b.Run(fmt.Sprintf("%s/%s/%d", strategy, state, members), func(b *testing.B) {
					tm := newTeam(members, func(i int, m *Member[*someone]) {
						switch {
						case state == "full":
							m.Client.Account(10)
						case state == "away" && i > 0: // all but one
							m.Client.Disconnect()
						}
					})
					m := &message.Message{Topic: []byte("t"), Payload: []byte("payload"), QoS: 1}
					b.ReportAllocs()
					for b.Loop() {
						to, _ := tm.g.Pick(m, FromPublisher, Sharing{Strategy(by), 10})
						to.Consumer.Arrived()
						tm.g.Member(to.Client)
					}
				})
			}
		}
	}
}

// BenchmarkJoin lets the members of a group come and go.
func BenchmarkJoin(b *testing.B) {
	for _, members := range []int{8, 1000, 8000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			for b.Loop() {
				tm := newTeam(members, nil)
				for _, c := range tm.clients {
					tm.n.Leave(tm.g, c)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*members), "ns/member")
		})
	}
}
