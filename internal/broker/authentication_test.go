package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
)

// examiner is an Authenticator with the method "quiz", which asks rounds times for
// the word that it gave out. Verdicts come in one of ways.
type examiner struct {
	doorman
	rounds int
	asked  []Request
	final  Verdict // of who has answered all
}

// Connect implements Authenticator.
func (e *examiner) Connect(r Request, done func(Verdict)) {
	r.Data = slices.Clone(r.Data)
	e.asked = append(e.asked, r)
	if r.Method == "" {
		done(Verdict{Principal: "p"})
		return
	}
	if r.Method != "quiz" {
		done(Verdict{Code: packet.BadAuthenticationMethod, Refusal: UnknownMethod, Reason: "no such method"})
		return
	}
	e.examine(1, string(r.Data) != "start", done)
}

func (e *examiner) examine(round int, wrong bool, done func(Verdict)) {
	v := e.final
	switch {
	case wrong:
		v = Verdict{Code: packet.BadUserNameOrPassword, Refusal: WrongCredentials, Reason: "wrong"}
	case round <= e.rounds:
		word := fmt.Sprint("word", round)
		v = Verdict{Data: []byte(word), Next: func(data []byte, done func(Verdict)) { e.examine(round+1, string(data) != word, done) }}
	}
	e.doorman.verdict = func(Request) Verdict { return v }
	e.doorman.Connect(Request{}, done)
}

// quizzed is a world with an examiner.
func quizzed(t *testing.T, e *examiner, change ...func(*setup)) *world {
	t.Helper()
	if e.final.Principal == "" {
		e.final.Principal = "p"
	}
	return newWorld(t, quietly(3, append(change, func(c *setup) { c.Authenticator = e })...))
}

func byMethod(method, data string) func(*packet.Connect) {
	return func(c *packet.Connect) {
		c.Properties.AuthMethod = []byte(method)
		c.Properties.Set(packet.PropAuthMethod)
		if data != "" {
			c.Properties.AuthData = []byte(data)
			c.Properties.Set(packet.PropAuthData)
		}
	}
}

func authOf(code packet.ReasonCode, method, data string) []byte {
	p := packet.Auth{Code: code}
	if method != "" {
		p.Properties.AuthMethod = []byte(method)
		p.Properties.Set(packet.PropAuthMethod)
	}
	if data != "" {
		p.Properties.AuthData = []byte(data)
		p.Properties.Set(packet.PropAuthData)
	}
	return p.Append(nil, packet.V5)
}

// auth takes the next packet, which has to be AUTH.
func (p *peer) auth() (a packet.Auth) {
	p.w.t.Helper()
	body := p.next(packet.AUTH)
	if body == nil {
		p.w.t.Fatal("no AUTH")
	}
	if err := a.Decode(packet.V5, 0xf0, body); err != nil {
		p.w.t.Fatal(err)
	}
	return a
}

// ends takes the DISCONNECT or CONNACK that a connection ends with.
func (p *peer) ends(t packet.Type) (code packet.ReasonCode) {
	p.w.t.Helper()
	body := p.next(t)
	if len(body) == 0 || !p.closed || len(p.out) > 0 {
		p.w.t.Fatalf("%v % x, closed %t, then % x", t, body, p.closed, p.out)
	}
	if t == packet.CONNACK {
		return packet.ReasonCode(body[1])
	}
	return packet.ReasonCode(body[0])
}

func (p *peer) all(b []byte, bytewise bool) {
	if !bytewise {
		p.bytes(b)
		return
	}
	for i := range b {
		p.bytes(b[i : i+1])
	}
}

// TestEnhancedConnect authenticates in some rounds before CONNACK, with packets behind
// the last answer, and then again and again while messages go on.
func TestEnhancedConnect(t *testing.T) {
	for _, way := range ways {
		for rounds := range 4 {
			for _, bytewise := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d rounds/bytewise=%t", way, rounds, bytewise), func(t *testing.T) {
					e := &examiner{doorman: doorman{way: way}, rounds: rounds, final: Verdict{Data: []byte("bye")}}
					w := quizzed(t, e)
					id := clientOn(2, 3, "c")
					p := w.dial(packet.V5)
					c := packet.Connect{Version: packet.V5, ClientID: []byte(id), CleanStart: true}
					byMethod("quiz", "start")(&c)
					ping := packet.Pingreq{}.Append(nil, packet.V5)
					b := c.Append(nil)
					for round := range rounds {
						p.all(b, bytewise)
						e.let(w)
						a := p.auth()
						if want := fmt.Sprint("word", round+1); a.Code != packet.ContinueAuthentication || string(a.Properties.AuthMethod) != "quiz" || string(a.Properties.AuthData) != want {
							t.Fatalf("AUTH %+v, want %s", a, want)
						}
						p.quiet()
						b = authOf(packet.ContinueAuthentication, "quiz", string(a.Properties.AuthData))
					}
					p.all(append(b, ping...), bytewise)
					e.let(w)
					var ack packet.Connack
					if err := ack.Decode(packet.V5, 0x20, p.next(packet.CONNACK)); err != nil || ack.Code != packet.Success ||
						string(ack.Properties.AuthMethod) != "quiz" || string(ack.Properties.AuthData) != "bye" {
						t.Fatalf("CONNACK %+v, %v", ack, err)
					}
					if p.next(packet.PINGRESP) == nil {
						t.Error("PINGREQ behind the last answer was lost")
					}
					nothingJoins(t, w)
					for range 3 {
						b := append(authOf(packet.Reauthenticate, "quiz", "start"), ping...)
						for range rounds {
							p.all(b, bytewise)
							if strings.HasPrefix(way, "later") && p.next(packet.PINGRESP) == nil {
								t.Error("nothing goes on meanwhile")
							}
							e.let(w)
							a := p.auth()
							if p.out = nil; a.Code != packet.ContinueAuthentication {
								t.Fatalf("AUTH %+v", a)
							}
							b = append(authOf(packet.ContinueAuthentication, "quiz", string(a.Properties.AuthData)), ping...)
						}
						p.all(b, bytewise)
						if strings.HasPrefix(way, "later") && p.next(packet.PINGRESP) == nil {
							t.Error("nothing goes on meanwhile")
						}
						e.let(w)
						a := p.auth()
						if p.out = nil; a.Code != packet.Success || string(a.Properties.AuthMethod) != "quiz" || string(a.Properties.AuthData) != "bye" {
							t.Fatalf("AUTH %+v", a)
						}
					}
					w.pass(time.Minute)
					if r := e.asked[len(e.asked)-1]; p.closed || !r.Again || r.ClientID != id || r.Peer != p.Peer() || r.Method != "quiz" {
						t.Errorf("closed %t, asked about %+v", p.closed, r)
					}
					if c := w.b.Counters(); c.Reauthenticated != 3 || c.Connects != 1 || c.Faults != 0 {
						t.Errorf("%d re-authentications, %d connects, %d faults", c.Reauthenticated, c.Connects, c.Faults)
					}
					p.hang()
					for _, s := range w.b.shards {
						if len(s.enhanced) > 0 {
							t.Error("something is left of the authentication")
						}
					}
				})
			}
		}
	}
}

// TestEnhancedRefused is all that goes wrong before CONNACK.
func TestEnhancedRefused(t *testing.T) {
	again := func(code packet.ReasonCode, method, data string) func(*peer) {
		return func(p *peer) { p.bytes(authOf(code, method, data)) }
	}
	send := func(b []byte) func(*peer) { return func(p *peer) { p.bytes(b) } }
	small := func(n uint32) func(*packet.Connect) { return mostBytes(n) }
	for _, tt := range []struct {
		name   string
		rounds int
		change func(*packet.Connect)
		then   func(*peer)
		code   packet.ReasonCode // of CONNACK; 0: there is none
	}{
		{"unknown method", 1, byMethod("other", "start"), nil, packet.BadAuthenticationMethod},
		{"wrong at once", 1, byMethod("quiz", "x"), nil, packet.BadUserNameOrPassword},
		{"no data", 1, byMethod("quiz", ""), nil, packet.BadUserNameOrPassword},
		{"wrong answer", 1, byMethod("quiz", "start"), again(0x18, "quiz", "x"), packet.BadUserNameOrPassword},
		{"no answer in AUTH", 1, byMethod("quiz", "start"), again(0x18, "quiz", ""), packet.BadUserNameOrPassword},
		{"another method", 1, byMethod("quiz", "start"), again(0x18, "other", "word1"), packet.ProtocolError},
		{"no method", 1, byMethod("quiz", "start"), again(0x18, "", ""), packet.ProtocolError},
		{"Success", 1, byMethod("quiz", "start"), again(0, "quiz", "word1"), packet.ProtocolError},
		{"re-authentication", 1, byMethod("quiz", "start"), again(0x19, "quiz", "start"), packet.ProtocolError},
		{"empty AUTH", 1, byMethod("quiz", "start"), send([]byte{0xf0, 0}), packet.ProtocolError},
		{"malformed AUTH", 1, byMethod("quiz", "start"), send([]byte{0xf0, 2, 0x18, 9}), packet.MalformedPacket},
		{"AUTH with flags", 1, byMethod("quiz", "start"), send([]byte{0xf1, 0}), packet.MalformedPacket},
		{"DISCONNECT", 1, byMethod("quiz", "start"), send([]byte{0xe0, 0}), 0},
		{"malformed DISCONNECT", 1, byMethod("quiz", "start"), send([]byte{0xe0, 1, 0xff}), packet.ProtocolError},
		{"PINGREQ", 1, byMethod("quiz", "start"), send([]byte{0xc0, 0}), packet.ProtocolError},
		{"the first byte of PUBLISH", 1, byMethod("quiz", "start"), send([]byte{0x30}), packet.ProtocolError},
		{"CONNECT", 1, byMethod("quiz", "start"), send((&packet.Connect{Version: packet.V5, CleanStart: true}).Append(nil)), packet.ProtocolError},
		{"the beginning of AUTH", 1, byMethod("quiz", "start"), send(authOf(0x18, "quiz", strings.Repeat("x", 60_000))[:5]), 0xff},
		{"too large", 1, byMethod("quiz", "start"), send([]byte{0xf0, 0xff, 0xff, 0x7f}), packet.PacketTooLarge},
		{"no answer", 1, byMethod("quiz", "start"), func(p *peer) { p.w.pass(6 * time.Second) }, packet.NotAuthorized},
		{"half an answer", 1, byMethod("quiz", "start"), func(p *peer) {
			b := authOf(0x18, "quiz", "word1")
			p.bytes(b[:len(b)-1])
			p.w.pass(6 * time.Second)
		}, packet.NotAuthorized},
		{"too many rounds", 100, byMethod("quiz", "start"), func(p *peer) {
			for i := range maxRounds {
				p.bytes(authOf(0x18, "quiz", fmt.Sprint("word", i+1)))
				if i < maxRounds-1 {
					p.auth()
				}
			}
		}, packet.NotAuthorized},
		{"too small for AUTH", 1, func(c *packet.Connect) { byMethod("quiz", "start")(c); small(9)(c) }, nil, 0},
		{"too small for CONNACK", 0, func(c *packet.Connect) { byMethod("quiz", "start")(c); small(12)(c) }, nil, 0},
		{"the broker stops", 1, byMethod("quiz", "start"), func(p *peer) {
			for _, s := range p.w.b.shards {
				s.disconnectAll()
			}
			p.w.turn()
		}, packet.ServerUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := quizzed(t, &examiner{rounds: tt.rounds})
			watcher := w.connect(packet.V5, "watcher")
			watcher.subscribe("#", 0)
			older := w.connect(packet.V5, "same")
			p := w.dial(packet.V5)
			c := packet.Connect{Version: packet.V5, ClientID: []byte("same"), CleanStart: true, HasWill: true, Will: packet.Will{Topic: []byte("w")}}
			tt.change(&c)
			p.bytes(c.Append(nil))
			if tt.then != nil {
				p.auth()
				tt.then(p)
			}
			switch {
			case tt.code == 0xff: // nothing yet
				if p.closed {
					t.Error("closed")
				}
				return
			case tt.code != 0:
				if got := p.ends(packet.CONNACK); got != tt.code {
					t.Errorf("CONNACK with %v, want %v", got, tt.code)
				}
			case len(p.out) > 0 || !p.closed:
				t.Errorf("got % x, closed %t", p.out, p.closed)
			}
			if older.closed != (tt.name == "the broker stops") {
				t.Error("the older connection is closed")
			}
			watcher.out = nil
			if tt.name != "the broker stops" {
				nothingJoins(t, w)
				watcher.quiet()
			}
		})
	}
}

// TestNoAuthenticator refuses any method where nobody decides.
func TestNoAuthenticator(t *testing.T) {
	w := newWorld(t, quietly(1))
	p := w.dial(packet.V5)
	c := packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}
	byMethod("quiz", "start")(&c)
	p.bytes(c.Append(nil))
	if got := p.ends(packet.CONNACK); got != packet.BadAuthenticationMethod {
		t.Errorf("CONNACK with %v", got)
	}
	if w.b.Counters().RefusedMethod != 1 {
		t.Error("it is not counted")
	}
}

// TestReauthenticationFails ends a connection whose client does not show again who it
// is.
func TestReauthenticationFails(t *testing.T) {
	first := authOf(0x19, "quiz", "start")
	for _, tt := range []struct {
		name   string
		method string // of CONNECT
		send   []byte
		then   func(*peer, *examiner) // after AUTH has come
		code   packet.ReasonCode
	}{
		{"no method in CONNECT", "", first, nil, packet.ProtocolError},
		{"another method", "quiz", authOf(0x19, "other", "start"), nil, packet.ProtocolError},
		{"no method", "quiz", authOf(0x19, "", ""), nil, packet.ProtocolError},
		{"Success", "quiz", authOf(0, "quiz", "start"), nil, packet.ProtocolError},
		{"goes on with nothing", "quiz", authOf(0x18, "quiz", "start"), nil, packet.ProtocolError},
		{"twice", "quiz", append(slices.Clone(first), first...), func(*peer, *examiner) {}, packet.ProtocolError},
		{"too large", "quiz", authOf(0x19, "quiz", strings.Repeat("x", 2000)), nil, packet.PacketTooLarge},
		{"wrong", "quiz", authOf(0x19, "quiz", "x"), nil, packet.NotAuthorized},
		{"wrong answer", "quiz", first, func(p *peer, _ *examiner) { p.bytes(authOf(0x18, "quiz", "x")) }, packet.NotAuthorized},
		{"no answer", "quiz", first, func(p *peer, _ *examiner) { p.w.pass(6 * time.Second) }, packet.NotAuthorized},
		{"somebody else", "quiz", first, func(p *peer, e *examiner) {
			e.final.Principal = "q"
			p.bytes(authOf(0x18, "quiz", "word1"))
		}, packet.NotAuthorized},
		{"another client identifier", "quiz", first, func(p *peer, e *examiner) {
			e.final.ClientID = "other"
			p.bytes(authOf(0x18, "quiz", "word1"))
		}, packet.NotAuthorized},
		{"too many rounds", "quiz", first, func(p *peer, e *examiner) {
			e.rounds = 100
			for i := range maxRounds {
				p.bytes(authOf(0x18, "quiz", fmt.Sprint("word", i+1)))
				if i < maxRounds-1 {
					p.auth()
				}
			}
		}, packet.NotAuthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &examiner{}
			w := quizzed(t, e, func(c *setup) { c.Limits.ConnectSize = 1000 })
			p := w.connect(packet.V5, "c", func(c *packet.Connect) {
				if tt.method != "" {
					byMethod(tt.method, "start")(c)
				}
			})
			e.rounds = 1
			p.bytes(tt.send)
			if tt.then != nil {
				p.auth()
				tt.then(p, e)
			}
			if got := p.ends(packet.DISCONNECT); got != tt.code {
				t.Errorf("DISCONNECT with %v, want %v", got, tt.code)
			}
			if w.b.Counters().Reauthenticated != 0 {
				t.Error("it is counted as a success")
			}
		})
	}
}

// TestReauthenticationPutsOff changes the time at which a client has to show again who
// it is, and what it may do.
func TestReauthenticationPutsOff(t *testing.T) {
	now := time.Now()
	e := &examiner{final: Verdict{Expires: now.Add(time.Minute)}}
	w := quizzed(t, e)
	p := w.connect(packet.V5, "c", byMethod("quiz", "start"))
	p.subscribe("t", 0)
	w.pass(50 * time.Second)
	d := &doorman{receive: func(string) bool { return false }}
	e.final.Expires, e.final.Permissions = now.Add(2*time.Minute), d
	p.bytes(authOf(0x19, "quiz", "start"))
	if a := p.auth(); a.Code != packet.Success {
		t.Fatalf("AUTH %+v", a)
	}
	p.publish("t", "for nobody", 0, false)
	p.quiet()
	w.pass(50 * time.Second)
	if p.closed {
		t.Fatal("it ends at the time of before")
	}
	w.pass(2 * time.Minute)
	if got := p.ends(packet.DISCONNECT); got != packet.NotAuthorized {
		t.Errorf("DISCONNECT with %v", got)
	}
	if c := w.b.Counters(); c.Lapsed != 1 {
		t.Errorf("%d have expired", c.Lapsed)
	}
}

// TestReauthenticationInFlight authenticates again while 1,000 messages are in flight
// in both directions: none is lost, and none comes twice.
func TestReauthenticationInFlight(t *testing.T) {
	const messages = 1000
	for _, way := range ways {
		e := &examiner{doorman: doorman{way: way}, rounds: 1}
		w := quizzed(t, e, func(c *setup) { c.Session.Inflight = messages })
		join := func(id string) *peer {
			p := w.dial(packet.V5)
			c := packet.Connect{Version: packet.V5, ClientID: []byte(id), CleanStart: true}
			byMethod("quiz", "start")(&c)
			p.bytes(c.Append(nil))
			e.let(w)
			p.auth()
			p.bytes(authOf(0x18, "quiz", "word1"))
			e.let(w)
			p.next(packet.CONNACK)
			return p
		}
		p := join(clientOn(1, 3, "a"))
		p.subscribe("t", 1)
		for i := range messages {
			m := packet.Publish{Topic: []byte("t"), Payload: fmt.Append(nil, i), QoS: 1, ID: packet.ID(i + 1)}
			b := m.Append(nil, packet.V5)
			if i == messages/2 {
				b = append(authOf(0x19, "quiz", "start"), b...)
			}
			p.bytes(b)
		}
		e.let(w)
		answered, acks := false, 0
		seen := map[string]int{}
		for range 2 {
			for len(p.out) > 0 {
				switch first := p.out[0]; packet.TypeOf(first) {
				case packet.AUTH:
					a := p.auth()
					if answered = a.Code == packet.Success; !answered {
						p.bytes(authOf(0x18, "quiz", string(a.Properties.AuthData)))
					}
				case packet.PUBACK:
					p.next(packet.PUBACK)
					acks++
				default:
					m, ok := p.message()
					if !ok {
						t.Fatalf("%s: % x", way, p.out)
					}
					seen[string(m.Payload)]++
				}
			}
			e.let(w)
		}
		if !answered || acks != messages || len(seen) != messages || p.closed {
			t.Errorf("%s: answered %t, %d acknowledged, %d received, closed %t", way, answered, acks, len(seen), p.closed)
		}
	}
}

// TestExchangeTakenOver has the client come by another connection while it is asked
// something, before CONNACK and after it.
func TestExchangeTakenOver(t *testing.T) {
	for _, way := range ways {
		for _, connected := range []bool{false, true} {
			e := &examiner{doorman: doorman{way: way}, rounds: 1}
			w := quizzed(t, e)
			hello := packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}
			byMethod("quiz", "start")(&hello)
			join := func() *peer {
				p := w.dial(packet.V5)
				p.bytes(hello.Append(nil))
				e.let(w)
				p.auth()
				return p
			}
			answer := func(p *peer) {
				p.bytes(authOf(0x18, "quiz", "word1"))
				e.let(w)
			}
			first := join()
			if connected {
				answer(first)
				first.next(packet.CONNACK)
				first.bytes(authOf(0x19, "quiz", "start"))
			}
			second := join()
			answer(second)
			if ack := second.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 {
				t.Fatalf("%s: CONNACK % x", way, ack)
			}
			if first.closed != connected {
				t.Errorf("%s, connected %t: the first is closed: %t", way, connected, first.closed)
			}
			answer(first)
			if !connected { // its turn has come: it takes over in turn
				if ack := first.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 || !second.closed {
					t.Errorf("%s: CONNACK % x", way, ack)
				}
			}
			w.pass(10 * time.Second)
			nothingJoins(t, w)
			if n := w.b.Counters().Connected; n != 1 {
				t.Errorf("%s: %d are connected", way, n)
			}
		}
	}
}

// TestExchangeMoves gives a client another identifier than it asked for, at the end of
// an exchange: its connection moves, and it can authenticate again there.
func TestExchangeMoves(t *testing.T) {
	for _, way := range ways {
		for shard := range 3 {
			id := clientOn(shard, 3, "named")
			e := &examiner{doorman: doorman{way: way}, rounds: 2, final: Verdict{ClientID: id}}
			w := quizzed(t, e)
			p := w.dial(packet.V5)
			c := packet.Connect{Version: packet.V5, ClientID: []byte("asked"), CleanStart: true}
			byMethod("quiz", "start")(&c)
			b := c.Append(nil)
			for range 2 {
				p.bytes(b)
				e.let(w)
				b = authOf(0x18, "quiz", string(p.auth().Properties.AuthData))
			}
			p.bytes(append(b, 0xc0, 0))
			e.let(w)
			if ack := p.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 || p.shard != shard || p.next(packet.PINGRESP) == nil {
				t.Fatalf("%s: CONNACK % x on shard %d, then % x", way, ack, p.shard, p.out)
			}
			e.rounds = 0
			p.bytes(authOf(0x19, "quiz", "start"))
			e.let(w)
			if a := p.auth(); a.Code != packet.Success {
				t.Errorf("%s: AUTH %+v", way, a)
			}
			nothingJoins(t, w)
		}
	}
}

// TestAuthStorm sends nothing but AUTH: it takes no more of a turn than other packets.
func TestAuthStorm(t *testing.T) {
	e := &examiner{}
	w := quizzed(t, e)
	p := w.connect(packet.V5, "c", byMethod("quiz", "start"))
	e.asked = nil
	var b []byte
	for range 1000 {
		b = append(b, authOf(0x19, "quiz", "start")...)
	}
	p.offerOnly(b)
	if n := len(e.asked); n == 0 || n > turnWork/authWork+1 {
		t.Errorf("%d in a turn", n)
	}
	for range 10 {
		w.turn()
		w.pass(time.Second)
	}
	if n := w.b.Counters().Reauthenticated; n != 1000 {
		t.Errorf("%d of 1000 were answered", n)
	}
}
