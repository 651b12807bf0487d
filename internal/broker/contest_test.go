package broker

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
)

// rival is a client that comes back at once whenever it loses its connection.
type rival struct {
	*peer
	answered       bool
	accepted, sent int
}

// fight lets n clients share ids for a while and returns what they saw.
func fight(w *world, v packet.Version, ids, n int, d time.Duration, change func(*packet.Connect)) (connects, accepted int) {
	rivals := make([]rival, n)
	for end := w.now + d; w.now < end; w.pass(tick) {
		for i := range rivals {
			r := &rivals[i]
			if r.peer != nil && !r.answered && len(r.out) > 0 {
				r.answered = true
				if r.next(packet.CONNACK)[1] == 0 {
					r.accepted++
				}
			}
			if r.peer != nil && !r.closed {
				continue
			}
			c := packet.Connect{Version: v, ClientID: fmt.Append(nil, "id", i%ids), CleanStart: true}
			change(&c)
			r.peer, r.answered = w.dial(v), false
			r.bytes(c.Append(nil))
			r.sent++
		}
	}
	for _, r := range rivals {
		connects += r.sent
		accepted += r.accepted
	}
	return connects, accepted
}

// TestContest proves that clients which take ids from each other are slowed
// down to some takeovers a second, that each of them gets a turn, and that the
// log tells once.
func TestContest(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		for _, clean := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v/clean %v", v, clean), func(t *testing.T) {
				var log strings.Builder
				cfg := quietConfig
				cfg.Log.Connections = false
				cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
				w := newWorld(t, cfg)
				calm := w.connect(v, "calm")
				calm.subscribe("a", 0)
				connects, accepted := fight(w, v, 2, 12, 30*time.Second, func(c *packet.Connect) { c.CleanStart = clean })
				if connects > 200 || connects-accepted > 12 {
					t.Errorf("%d of %d CONNECTs were accepted in 30 s, want all but the last of 200 at most", accepted, connects)
				}
				if accepted < 60 {
					t.Errorf("%d were accepted: each of 12 should have had a turn in each 4 s", accepted)
				}
				calm.publish("a", "x", 0, false)
				calm.want("x")
				if n := strings.Count(log.String(), clientDelayed); n != 2 {
					t.Errorf("the log tells %d times, want once for each id:\n%s", n, log.String())
				}
				if n := w.b.Counters(); n.Delayed == 0 || n.TakenOver == 0 || n.Delayed < n.TakenOver-24 {
					t.Errorf("delayed %d, taken over %d", n.Delayed, n.TakenOver)
				}
				for _, p := range w.conns {
					p.hang()
				}
				w.pass(contestEnds + time.Second)
				for _, s := range w.b.shards {
					if len(s.contests.byID)+len(s.handshakes.waiting) > 0 {
						t.Errorf("%d contests and %d that join are left", len(s.contests.byID), len(s.handshakes.waiting))
					}
				}
			})
		}
	}
}

// TestHonestReconnect proves who is not delayed.
func TestHonestReconnect(t *testing.T) {
	connect := func(w *world) *peer {
		p := w.dial(packet.V5)
		p.bytes((&packet.Connect{Version: packet.V5, ClientID: []byte("id"), CleanStart: true}).Append(nil))
		return p
	}
	atOnce := func(what string, p *peer) {
		t.Helper()
		if body := p.next(packet.CONNACK); len(body) < 2 || body[1] != 0 {
			t.Errorf("%s: CONNACK %x", what, body)
		}
	}
	w := newWorld(t, quietConfig)
	atOnce("the first", connect(w))
	p := connect(w)
	atOnce("the network was lost, and the old connection is still there", p)
	p.hang()
	atOnce("nobody has the id", connect(w))
	w.pass(1100 * time.Millisecond)
	for range 5 {
		atOnce("who waits a second", connect(w))
		w.pass(1100 * time.Millisecond)
	}
	if n := w.b.Counters().Delayed; n != 0 {
		t.Errorf("%d were delayed", n)
	}
	w.pass(20 * time.Second)
	atOnce("much later", connect(w))
	p = connect(w)
	if len(p.out) > 0 {
		t.Error("who comes back at once isn't delayed")
	}
	w.pass(firstWait + 2*tick)
	atOnce("after a wait", p)
}

// TestContestGivenUp proves that nothing is taken over for a client that has
// not waited for its turn, and that what it sends in the meantime is not read.
func TestContestGivenUp(t *testing.T) {
	w := newWorld(t, quietConfig)
	frame := (&packet.Connect{Version: packet.V311, ClientID: []byte("id"), CleanStart: true}).Append(nil)
	w.connect(packet.V311, "id")
	holder := w.connect(packet.V311, "id")
	gone := w.dial(packet.V311)
	gone.bytes(frame)
	gone.hang()
	w.pass(time.Second)
	if holder.closed {
		t.Fatal("the session was taken over for a connection that has gone")
	}
	w.connect(packet.V311, "id")
	late := w.dial(packet.V311)
	late.bytes(append(frame, 0xc0, 0, 0xe0, 0)) // PINGREQ, DISCONNECT
	late.quiet()
	late.bytes([]byte{0xc0, 0})
	if !late.paused {
		t.Error("more is read while it waits")
	}
	w.pass(maxWait + time.Second)
	if body := late.next(packet.CONNACK); len(body) < 2 || body[1] != 0 {
		t.Errorf("CONNACK %x", body)
	}
	if late.next(packet.PINGRESP) == nil {
		t.Error("PINGREQ behind CONNECT was lost")
	}
}

// TestContestWithAuthenticator proves that who waits is not asked for its password
// before its turn, and is afterwards.
func TestContestWithAuthenticator(t *testing.T) {
	access := &lateAuthenticator{}
	cfg := quietConfig
	cfg.Authenticator = access
	w := newWorld(t, cfg)
	frame := (&packet.Connect{Version: packet.V5, ClientID: []byte("id"), CleanStart: true}).Append(nil)
	for range 2 {
		w.dial(packet.V5).bytes(frame)
		access.answer(packet.Success)
		w.turn()
	}
	p := w.dial(packet.V5)
	p.bytes(frame)
	if n := access.answer(packet.Success); n != 0 {
		t.Errorf("the Authenticator is asked %d times before the turn", n)
	}
	w.pass(firstWait + 2*tick)
	p.quiet()
	if n := access.answer(packet.Success); n != 1 {
		t.Errorf("the Authenticator is asked %d times", n)
	}
	w.turn()
	if body := p.next(packet.CONNACK); len(body) < 2 || body[1] != 0 {
		t.Errorf("CONNACK %x", body)
	}
}

// TestManyContests proves that there is a bound on what is known of takeovers.
func TestManyContests(t *testing.T) {
	cfg := quietConfig
	cfg.Shards = 1
	w := newWorld(t, cfg)
	s := w.b.shards[0]
	for i := range 3 * maxContests {
		s.contests.takeover(fmt.Sprint("id", i), s.now)
	}
	if len(s.contests.byID) != maxContests {
		t.Errorf("%d contests, want %d", len(s.contests.byID), maxContests)
	}
	w.pass(contestEnds + time.Second)
	if len(s.contests.byID) != 0 {
		t.Errorf("%d contests are left", len(s.contests.byID))
	}
}

// TestContestDelays doubles the delay with each takeover up to a maximum, and
// forgets a contest that has ended.
func TestContestDelays(t *testing.T) {
	var timers wheel
	var all contests
	all.init(&timers)
	now := time.Minute
	if all.delay("id", now) != 0 {
		t.Error("the first takeover waits")
	}
	for want := firstWait; want < 4*maxWait; want *= 2 {
		all.takeover("id", now)
		if got := all.delay("id", now); got != min(want, maxWait) {
			t.Errorf("delay of %v, want %v", got, min(want, maxWait))
		}
	}
	if all.delay("other", now) != 0 || all.delay("id", now+atOnceAfter) != 0 {
		t.Error("another id waits, or one that comes back late")
	}
	ct := all.byID["id"]
	now += contestEnds / 2
	all.takeover("id", now)
	if all.expire(ct, now+contestEnds-1); len(all.byID) != 1 {
		t.Error("it ends too early")
	}
	if all.expire(ct, now+contestEnds); len(all.byID) != 0 {
		t.Error("it does not end")
	}
}
