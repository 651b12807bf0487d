package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/settings"
	"midge/internal/store/memstore"
)

// tenants is an Authenticator that takes the user name for a mount point.
func tenants() *doorman {
	return &doorman{verdict: func(r Request) Verdict { return Verdict{MountPoint: string(r.UserName)} }}
}

// of is a client with a mount point.
func of(mount string) func(*packet.Connect) {
	return func(c *packet.Connect) {
		if mount != "" {
			c.UserName = []byte(mount)
		}
	}
}

// rented is a broker with tenants. known: it knows that there may be some before it
// asks the Authenticator.
func rented(shards int, known bool) setup {
	return quietly(shards, func(c *setup) {
		c.Authenticator = tenants()
		if known {
			c.Listeners = map[int]settings.ListenerLimits{0: {Limits: c.Limits, Mounts: true}}
		}
	})
}

// messages takes all that has come for a client, and returns topic and payload of each message.
func messages(p *peer) (got []string) {
	p.w.t.Helper()
	aliases := map[uint16]string{}
	for {
		p.w.turn()
		m, ok := p.silent()
		if !ok && len(p.out) > 0 && packet.TypeOf(p.out[0]) == packet.PUBREL {
			body := p.next(packet.PUBREL)
			p.bytes((&packet.Ack{Type: packet.PUBCOMP, ID: packet.ID(body[0])<<8 | packet.ID(body[1])}).Append(nil, p.version))
			continue
		}
		if !ok {
			return got
		}
		name := string(m.Topic)
		if alias := m.Properties.TopicAlias; alias != 0 {
			if name == "" {
				name = aliases[alias]
			}
			aliases[alias] = name
		}
		if payload := string(m.Payload); len(payload) < 100 {
			name += " " + payload
		} else {
			name += fmt.Sprintf(" %d", len(payload))
		}
		got = append(got, name)
		switch m.QoS {
		case 1:
			p.bytes((&packet.Ack{Type: packet.PUBACK, ID: m.ID}).Append(nil, p.version))
		case 2:
			p.bytes((&packet.Ack{Type: packet.PUBREC, ID: m.ID}).Append(nil, p.version))
		}
	}
}

// TestMount sends messages within a mount point in all ways. Those with the same one get them
// by the names that they know, those with none by the whole name, and those with
// another nothing.
func TestMount(t *testing.T) {
	aliases := func(c *packet.Connect) {
		c.Properties.TopicAliasMaximum = 4
		c.Properties.Set(packet.PropTopicAliasMaximum)
	}
	small := func(c *packet.Connect) {
		c.Properties.MaximumPacketSize = 1 << 20
		c.Properties.Set(packet.PropMaximumPacketSize)
	}
	nothing := func(*packet.Connect) {}
	for _, v := range versions {
		for qos := range packet.QoS(3) {
			for _, shards := range []int{1, 3} {
				for what, change := range map[string]func(*packet.Connect){"plain": nothing, "aliases": aliases, "packet size": small} {
					if v != packet.V5 && what != "plain" {
						continue
					}
					t.Run(fmt.Sprintf("%v/QoS %d/%d shards/%s", v, qos, shards, what), func(t *testing.T) {
						w := newWorld(t, rented(shards, shards == 3))
						join := func(mount, filter string) (all []*peer) {
							for i := range 3 {
								p := w.connect(v, fmt.Sprint(filter, i), of(mount), change)
								p.subscribe(filter, qos)
								all = append(all, p)
							}
							return all
						}
						check := func(what string, all []*peer, want ...string) {
							t.Helper()
							for i, p := range all {
								if got := messages(p); !slices.Equal(got, want) {
									t.Errorf("%s: c%d has %q, want %q", what, i, got, want)
								}
							}
						}
						mine, others, whole := join("one/", "#"), join("two/", "#"), join("", "#")
						inner, outer := join("one/a/", "#"), join("one/", "a/+/$x")
						w.turn()
						pub := w.connect(v, "pub", of("one/"))
						send := func(topic, payload string, retain bool) {
							pub.publish(topic, payload, qos, retain)
							pub.drain()
						}
						send("a/b", "1", false)
						check("live", mine, "a/b 1")
						check("live", others)
						check("live", whole, "one/a/b 1")
						check("live, within", inner, "b 1")
						send("a/b/$x", strings.Repeat("x", 64<<10), false)
						check("large", mine, "a/b/$x 65536")
						check("large", whole, "one/a/b/$x 65536")
						check("large, within", inner, "b/$x 65536")
						check("large, by filter", outer, "a/b/$x 65536")
						check("large", others)
						send("r", "2", true)
						check("to be retained", mine, "r 2")
						check("to be retained", whole, "one/r 2")
						for mount, want := range map[string]string{"one/": "r 2", "two/": "", "": "one/r 2"} {
							late := w.connect(v, "late", of(mount), change)
							late.subscribe("#", qos)
							if got := strings.Join(messages(late), ";"); got != want {
								t.Errorf("retained, with mount point %q: %q, want %q", mount, got, want)
							}
						}
						var members []*peer
						for _, mount := range []string{"one/", "one/", "two/", ""} {
							m := w.connect(v, fmt.Sprint("m", len(members)), of(mount), change)
							filter := "$share/g/s/#"
							if mount == "" {
								filter = "$share/g/one/s/#"
							}
							if m.subscribe(filter, qos); mount == "one/" {
								m.subscribe("$share/h/nothing", qos)
							}
							members = append(members, m)
						}
						send("s/1", "3", false)
						send("s/2", "4", false)
						got := slices.Concat(messages(members[0]), messages(members[1]))
						if slices.Sort(got); !slices.Equal(got, []string{"s/1 3", "s/2 4"}) {
							t.Errorf("shared: %q", got)
						}
						check("shared", members[2:3])
						check("shared", members[3:], "one/s/1 3", "one/s/2 4")
						messages(mine[0])
						mine[0].bytes((&packet.Unsubscribe{ID: 3, Filters: [][]byte{[]byte("#")}}).Append(nil, v))
						if ack := mine[0].next(packet.UNSUBACK); v == packet.V5 && ack[len(ack)-1] != 0 {
							t.Errorf("UNSUBACK % x", ack)
						}
						send("a/c", "5", false)
						check("after UNSUBSCRIBE", mine[:1])
						check("after UNSUBSCRIBE", mine[1:], "s/1 3", "s/2 4", "a/c 5")
						dying := w.connect(v, "dying", of("one/"), func(c *packet.Connect) {
							c.HasWill = true
							c.Will = packet.Will{Topic: []byte("w"), Payload: []byte("gone"), QoS: qos, Retain: true}
						})
						dying.hang()
						check("will", mine[1:], "w gone")
						if got := strings.Join(messages(whole[0]), ";"); !strings.HasSuffix(got, "one/w gone") {
							t.Errorf("will: %q", got)
						}
						check("in the end", others)
					})
				}
			}
		}
	}
}

// drain takes what the client has got, whatever it is.
func (p *peer) drain() {
	p.w.turn()
	for len(p.out) > 0 {
		first, body, size, _ := packet.Split(p.out, packet.MaxSize)
		p.out = p.out[size:]
		if packet.TypeOf(first) == packet.PUBREC {
			p.bytes((&packet.Ack{Type: packet.PUBREL, ID: packet.ID(body[0])<<8 | packet.ID(body[1])}).Append(nil, p.version))
		}
	}
}

// TestMountAlias resolves the topic aliases of a client before its mount point.
func TestMountAlias(t *testing.T) {
	w := newWorld(t, rented(1, true))
	whole := w.connect(packet.V5, "w")
	whole.subscribe("#", 0)
	pub := w.connect(packet.V5, "p", of("one/"))
	for i, name := range []string{"a", "", "b", "", "a"} {
		m := packet.Publish{Topic: []byte(name), Payload: fmt.Append(nil, i)}
		m.Properties.TopicAlias = 3
		pub.bytes(m.Append(nil, packet.V5))
	}
	if got := strings.Join(messages(whole), ";"); got != "one/a 0;one/a 1;one/b 2;one/b 3;one/a 4" {
		t.Errorf("%q", got)
	}
}

// TestMountHides delivers nothing to clients with a mount point that a broker of their own
// would not: of topics that begin with $ as they see them, of the level above
// their own, and of a topic without a name. $SYS is not theirs.
func TestMountHides(t *testing.T) {
	for _, shards := range []int{1, 3} {
		w := newWorld(t, quietly(shards, func(c *setup) {
			c.Authenticator, c.Sys.Interval = tenants(), time.Second
		}))
		operator := w.connect(packet.V5, "operator")
		topics := []string{"one", "one/", "one/$x", "one/$x/y", "one/$SYS/z", "one/a", "one//", "two/b"}
		for _, name := range topics {
			operator.publish(name, "r", 0, true)
		}
		var all []*peer
		want := map[string][]string{
			"#":      {"/", "a"},
			"+":      {"a"},
			"+/+":    {"/"},
			"+/#":    {"/", "a"},
			"/#":     {"/"},
			"$x/#":   {"$x", "$x/y"},
			"$x":     {"$x"},
			"$SYS/#": {"$SYS/z"},
			"a":      {"a"},
		}
		for filter := range want {
			for _, shared := range []string{"", "$share/g/"} {
				p := w.connect(packet.V5, "c"+shared+filter, of("one/"))
				if code := p.subscribe(shared+filter, 1); code != 1 {
					t.Errorf("%s: %v", filter, code)
				}
				if shared == "" {
					check(t, "retained, "+filter, messages(p), want[filter], " r")
				}
				all = append(all, p)
			}
		}
		w.pass(3 * time.Second)
		for _, name := range topics {
			operator.publish(name, "l", 0, false)
		}
		for _, p := range all {
			id := p.state.(*conn).client.clientID()
			filter := strings.TrimPrefix(strings.TrimPrefix(id, "c"), "$share/g/")
			check(t, id, messages(p), want[filter], " l")
		}
		tenant := w.connect(packet.V5, "t", of("one/"))
		tenant.publish("$SYS/z", "x", 1, false)
		if ack := tenant.next(packet.PUBACK); len(ack) < 3 || ack[2] != byte(packet.NotAuthorized) {
			t.Errorf("a client with a mount point publishes to $SYS: % x", ack)
		}
	}
}

// check compares what has come, without what each ends with.
func check(t *testing.T, what string, got, want []string, end string) {
	t.Helper()
	got = slices.Clone(got)
	for i := range got {
		got[i] = strings.TrimSuffix(got[i], end)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestMountIdentifiers connects clients with the same client identifier and other mount
// points. Each has its own session, and takes over nobody else's connection.
func TestMountIdentifiers(t *testing.T) {
	for _, v := range versions {
		for _, way := range ways {
			for _, known := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/%s/known=%t", v, way, known), func(t *testing.T) {
					cfg := rented(4, known)
					d := cfg.Authenticator.(*doorman)
					d.way = way
					w := newWorld(t, cfg)
					var conns []*peer
					connect := func(mount string) (p *peer, present byte) {
						p = w.dial(v)
						c := packet.Connect{Version: v, ClientID: []byte("c"), CleanStart: false}
						c.Properties.SessionExpiry = 3600
						c.Properties.Set(packet.PropSessionExpiry)
						of(mount)(&c)
						p.bytes(c.Append(nil))
						d.let(w)
						ack := p.next(packet.CONNACK)
						if ack == nil || ack[1] != 0 {
							t.Fatalf("CONNACK % x", ack)
						}
						return p, ack[0]
					}
					mounts := []string{"", "one/", "two/", "one/c/"}
					for _, mount := range mounts {
						p, present := connect(mount)
						if present != 0 && v != packet.V31 {
							t.Errorf("%q: somebody else's session is resumed", mount)
						}
						p.subscribe("x", 1)
						conns = append(conns, p)
					}
					for i, p := range conns {
						if p.closed {
							t.Errorf("%q: somebody else has taken it over", mounts[i])
						}
					}
					again, present := connect("two/")
					if present != 1 && v != packet.V31 {
						t.Error("the session is not resumed")
					}
					if !conns[2].closed || conns[0].closed || conns[1].closed || conns[3].closed {
						t.Error("another one than its own connection is taken over")
					}
					again.publish("x", "1", 0, false)
					if got := messages(again); !slices.Equal(got, []string{"x 1"}) {
						t.Errorf("%q", got)
					}
					for _, i := range []int{0, 1, 3} {
						conns[i].quiet()
					}
					if n := w.b.Counters().Connected; n != 4 {
						t.Errorf("%d are connected, want 4", n)
					}
					nothingJoins(t, w)
				})
			}
		}
	}
}

// TestMountAssigned tells a client that asks for none the client identifier that it
// can come back with.
func TestMountAssigned(t *testing.T) {
	for _, known := range []bool{false, true} {
		w := newWorld(t, rented(3, known))
		for _, mount := range []string{"", "one/"} {
			p := w.dial(packet.V5)
			c := packet.Connect{Version: packet.V5, CleanStart: true}
			expires(60)(&c)
			of(mount)(&c)
			p.bytes(c.Append(nil))
			var ack packet.Connack
			if err := ack.Decode(packet.V5, 0x20, p.next(packet.CONNACK)); err != nil || ack.Code != 0 {
				t.Fatalf("%v %v", ack.Code, err)
			}
			id := string(ack.Properties.AssignedClientID)
			if id == "" || strings.ContainsAny(id, "\x00/") {
				t.Errorf("the client identifier is %q", id)
			}
			if _, present, _ := w.join(id, expires(60), of(mount)); !present {
				t.Errorf("%q: the session is not there under %q", mount, id)
			}
		}
	}
}

// TestMountPermissions asks for what a client may do in the client's own words, and forgets
// no answer of one for another.
func TestMountPermissions(t *testing.T) {
	var d *doorman
	d = &doorman{
		verdict: func(r Request) Verdict {
			return Verdict{MountPoint: string(r.UserName), Permissions: d, Principal: "u"}
		},
		publish:   func(topic string, _ packet.QoS, _ bool) bool { return !strings.HasPrefix(topic, "no") },
		subscribe: func(filter string) bool { return !strings.HasPrefix(filter, "no") },
		receive:   func(topic string) bool { return topic != "not" },
	}
	w := newWorld(t, quietly(2, func(c *setup) { c.Authenticator = d }))
	for _, mount := range []string{"one/", ""} {
		p := w.connect(packet.V5, "p", of(mount), func(c *packet.Connect) {
			c.HasWill = true
			c.Will = packet.Will{Topic: []byte("will")}
		})
		for filter, want := range map[string]packet.ReasonCode{"a/#": 1, "no": packet.NotAuthorized, "$share/g/no": packet.NotAuthorized, "$share/g/b": 1, "+": 1} {
			if code := p.subscribe(filter, 1); code != want {
				t.Errorf("%s: %v, want %v", filter, code, want)
			}
		}
		for range 3 { // the route is remembered
			for topic, want := range map[string]packet.ReasonCode{"a/b": 0, "no/a": packet.NotAuthorized} {
				p.publish(topic, "x", 1, false)
				for {
					if _, ok := p.message(); !ok {
						break
					}
				}
				ack := p.next(packet.PUBACK)
				code := packet.ReasonCode(0)
				if len(ack) > 2 {
					code = packet.ReasonCode(ack[2])
				}
				messages(p)
				if code != want {
					t.Errorf("%s: %v, want %v", topic, code, want)
				}
			}
		}
		w.b.shards[0].routes.Clear()
		operator := w.connect(packet.V5, "o", of(mount))
		operator.publish("not", "x", 0, false)
		if got := messages(p); len(got) > 0 {
			t.Errorf("%q", got)
		}
	}
	for _, asked := range d.heard() {
		if strings.Contains(asked, "one/") {
			t.Errorf("asked: %s", asked)
		}
	}
}

// TestMountTooLong refuses names and filters that are longer than the protocol allows
// behind the mount point, and says why.
func TestMountTooLong(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, quietly(1, func(c *setup) {
		c.Authenticator, c.Limits.TopicLength = tenants(), 65_535
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	}))
	fit, long := strings.Repeat("x", 65_535-len("one/")), strings.Repeat("x", 65_536-len("one/"))
	p := w.connect(packet.V5, "p", of("one/"))
	watcher := w.connect(packet.V5, "w")
	watcher.subscribe("one/+", 0)
	if code := p.subscribe(fit, 0); code != 0 {
		t.Error(code)
	}
	for _, filter := range []string{long, "$share/g/" + long[9:] + "x"} {
		if code := p.subscribe(filter, 0); code != packet.TopicFilterInvalid {
			t.Error(code)
		}
	}
	p.publish(fit, "1", 0, false)
	if got := messages(p); !slices.Equal(got, []string{fit + " 1"}) {
		t.Errorf("%d messages", len(got))
	}
	if got := messages(watcher); !slices.Equal(got, []string{"one/" + fit + " 1"}) {
		t.Errorf("%d messages", len(got))
	}
	p.publish(long, "1", 1, false)
	if ack := p.next(packet.PUBACK); len(ack) < 3 || ack[2] != byte(packet.TopicNameInvalid) {
		t.Errorf("PUBACK % x", ack)
	}
	watcher.quiet()
	for name, want := range map[string]packet.ReasonCode{fit: 0, long: packet.TopicNameInvalid} {
		_, _, code := w.join("will", of("one/"), func(c *packet.Connect) {
			c.HasWill = true
			c.Will = packet.Will{Topic: []byte(name)}
		})
		if code != want {
			t.Errorf("a will of %d bytes: %v, want %v", len(name), code, want)
		}
	}
	if !strings.Contains(log.String(), "mount point over 65,535 bytes") || !strings.Contains(log.String(), "client=p mount_point=one/") {
		t.Errorf("the log does not say why:\n%s", log.String())
	}
	if n := w.b.Counters().RefusedTopics; n != 4 {
		t.Errorf("%d are counted, want 4", n)
	}
}

// TestMountRefused refuses a client whose mount point is none.
func TestMountRefused(t *testing.T) {
	for mount, ok := range map[string]bool{
		"a/": true, "/": true, "a/b/": true, "$a/": true, "ü/": true,
		"a": false, "+/": false, "a/#/": false, "a\x00/": false, "$SYS/": false, "$SYS/a/": false, "$share/g/": false, "\xff/": false, strings.Repeat("x", 1024) + "/": false,
	} {
		d := &doorman{verdict: func(Request) Verdict { return Verdict{MountPoint: mount} }}
		w := guarded(t, 2, d)
		_, _, code := w.join("c")
		if code.Failed() == ok {
			t.Errorf("%q: %v", mount, code)
		}
		if n := w.b.Counters().RefusedAccess; (n == 0) != ok {
			t.Errorf("%q: %d are counted", mount, n)
		}
	}
}

// TestMountAfterCrash brings back sessions, subscriptions, messages that wait, and wills of
// clients with mount points after the broker was killed.
func TestMountAfterCrash(t *testing.T) {
	for qos := packet.QoS(1); qos < 3; qos++ {
		backend := memstore.New()
		wall := time.Unix(1_800_000_000, 0)
		rent := func(c *setup) { c.Authenticator = tenants() }
		w, _ := onStore(t, backend, wall, true, rent)
		mounts := []string{"one/", "two/", ""}
		for _, mount := range mounts {
			p, _, _ := w.join("c", expires(3600), of(mount))
			p.subscribe("a/#", qos)
			p.subscribe("+/s", qos)
			g, _, _ := w.join("g", expires(3600), of(mount))
			g.subscribe("$share/g/a/b", qos)
			p.hang()
			g.hang()
		}
		for i, mount := range mounts {
			w.join("dying", of(mount), func(c *packet.Connect) {
				c.HasWill = true
				c.Will = packet.Will{Topic: []byte("a/will"), Payload: []byte(mount + "will"), QoS: qos, Delay: uint32(i) * 10, Retain: true}
				expires(60)(c)
			})
			pub, _, _ := w.join("pub", of(mount))
			pub.publish("a/b", mount+"1", qos, false)
			pub.drain()
			pub.publish("$x/s", mount+"2", qos, false)
			pub.drain()
		}

		w, _ = onStore(t, backend, wall.Add(time.Second), true, rent)
		operator, _, _ := w.join("operator")
		operator.publish("one/$y/s", "hidden", qos, false) // before they are back
		operator.drain()
		operator.publish("one/y/s", "one/3", qos, false)
		operator.drain()
		w.pass(70 * time.Second)
		for _, mount := range mounts {
			p, present, _ := w.join("c", expires(3600), of(mount))
			if !present {
				t.Errorf("%q: the session is gone", mount)
			}
			want := []string{"a/b " + mount + "1", "a/will " + mount + "will"}
			if mount == "one/" {
				want = append(want, "y/s one/3")
			}
			got := messages(p)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("QoS %d, %q: %q, want %q", qos, mount, got, want)
			}
			g, _, _ := w.join("g", expires(3600), of(mount))
			if got := messages(g); !slices.Equal(got, want[:1]) {
				t.Errorf("QoS %d, %q, shared: %q, want %q", qos, mount, got, want[:1])
			}
			late, _, _ := w.join("late", of(mount))
			late.subscribe("a/will", 0)
			if got := messages(late); !slices.Equal(got, want[1:2]) {
				t.Errorf("QoS %d, %q, retained will: %q", qos, mount, got)
			}
		}
	}
}

// TestTenants runs random histories of two tenants, the same client identifiers and topics in each,
// on one broker and on a broker for each of them. Every client gets the same in both.
func TestTenants(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 30 {
		shards := 1 + random.IntN(3)
		shared := newWorld(t, rented(shards, random.IntN(2) == 0))
		mounts := []string{"one/", "two/"}
		tenants := []*tenant{newTenant(shared, mounts[0], newWorld(t, quietly(shards))), newTenant(shared, mounts[1], newWorld(t, quietly(shards)))}
		for range 150 {
			n := random.IntN(2)
			did := tenants[n].act(random)
			for i, other := range tenants {
				if fault := other.compare(); fault != "" {
					t.Fatalf("seed %d: %q did: %s\n%s: %s", seed, mounts[n], did, mounts[i], fault)
				}
			}
		}
	}
}

// tenant is the clients of a tenant, each on two brokers.
type tenant struct {
	mount  string
	worlds [2]*world
	peers  map[string][2]*peer
	log    []string
}

func newTenant(shared *world, mount string, own *world) *tenant {
	return &tenant{mount: mount, worlds: [2]*world{shared, own}, peers: map[string][2]*peer{}}
}

// act does something with one of the clients, on both brokers.
func (n *tenant) act(random *rand.Rand) (did string) {
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	id := pick("a", "b", "c", "d")
	both := n.peers[id]
	send := func(did string, b []byte) string {
		for _, p := range both {
			p.bytes(b)
		}
		n.log = append(n.log, id+" "+did)
		return n.log[len(n.log)-1]
	}
	if both[0] == nil || both[0].closed || random.IntN(12) == 0 {
		v := versions[random.IntN(len(versions))]
		c := packet.Connect{Version: v, ClientID: []byte(id), CleanStart: random.IntN(3) == 0}
		if v == packet.V5 {
			c.Properties.SessionExpiry = uint32(random.IntN(2) * 1000)
			c.Properties.Set(packet.PropSessionExpiry)
		}
		if random.IntN(2) == 0 {
			c.HasWill = true
			c.Will = packet.Will{Topic: []byte(pick("x", "$x", "x/y")), Payload: fmt.Append(nil, "will of ", id, len(n.log)), QoS: packet.QoS(random.IntN(3)), Retain: random.IntN(2) == 0}
		}
		for i, w := range n.worlds {
			both[i] = w.dial(v)
			if c.UserName = nil; i == 0 {
				c.UserName = []byte(n.mount)
			}
			both[i].bytes(c.Append(nil))
		}
		n.peers[id] = both
		return send("connects", nil)
	}
	v, qos := both[0].version, packet.QoS(random.IntN(3))
	switch random.IntN(6) {
	case 0:
		for _, p := range both {
			p.hang()
		}
		return send("hangs up", nil)
	case 1, 2:
		filter := pick("#", "+", "x", "x/#", "$x", "$x/#", "+/y", "/#", "$share/g/x/#", "$share/g/#", "$share/h/+", "$SYS/#")
		s := packet.Subscription{Filter: []byte(filter), QoS: qos}
		if v == packet.V5 && !strings.HasPrefix(filter, "$share") {
			s.NoLocal, s.RetainAsPublished, s.RetainHandling = random.IntN(3) == 0, random.IntN(2) == 0, packet.RetainHandling(random.IntN(3))
		}
		p := packet.Subscribe{ID: 5, Subscriptions: []packet.Subscription{s}}
		if v == packet.V5 && random.IntN(2) == 0 {
			p.Properties.SubscriptionIDs = []uint32{uint32(1 + random.IntN(3))}
		}
		return send("subscribes to "+filter, p.Append(nil, v))
	case 3:
		filter := pick("#", "+", "x", "x/#", "$x", "$share/g/#", "$share/g/x/#")
		return send("unsubscribes "+filter, (&packet.Unsubscribe{ID: 6, Filters: [][]byte{[]byte(filter)}}).Append(nil, v))
	}
	m := packet.Publish{Topic: []byte(pick("x", "x/y", "$x", "$x/y", "/", "y", "$SYS/x", "one/x", "two/x")), Payload: fmt.Append(nil, n.mount, id, len(n.log)), QoS: qos, Retain: random.IntN(3) == 0}
	if random.IntN(10) == 0 {
		m.Payload = append(m.Payload, make([]byte, 20<<10)...)
	}
	if qos > 0 {
		m.ID = packet.ID(100 + len(n.log))
	}
	return send(fmt.Sprintf("publishes to %s, %v", m.Topic, m.Payload[:min(20, len(m.Payload))]), m.Append(nil, v))
}

// compare finds a difference between what clients have got on both brokers.
func (n *tenant) compare() string {
	for id, both := range n.peers {
		var got [2][]string
		for i, p := range both {
			got[i] = p.everything()
			slices.Sort(got[i])
		}
		if !slices.Equal(got[0], got[1]) {
			return fmt.Sprintf("%s has %q with a mount point, and %q on a broker of its own, after %q", id, got[0], got[1], n.log)
		}
		if both[0].closed != both[1].closed {
			return fmt.Sprintf("%s: closed %t with a mount point, and %t on a broker of its own, after %q", id, both[0].closed, both[1].closed, n.log)
		}
	}
	return ""
}

// everything takes what has come, acknowledges messages, and returns each packet in words.
// That nobody matches a topic is not looked at: a shard may not know.
func (p *peer) everything() (got []string) {
	for p.w.turn(); len(p.out) > 0; p.w.turn() {
		first, body, size, err := packet.Split(p.out, packet.MaxSize)
		if err != nil || size == 0 {
			return append(got, fmt.Sprintf("nonsense: %x", p.out))
		}
		p.out = p.out[size:]
		ack := packet.Ack{}
		switch kind := packet.TypeOf(first); kind {
		case packet.PUBLISH:
			var m packet.Publish
			if err := m.Decode(p.version, first, body); err != nil {
				return append(got, err.Error())
			}
			got = append(got, fmt.Sprintf("%s %.20q %d QoS %d retain %t dup %t ids %d", m.Topic, m.Payload, len(m.Payload), m.QoS, m.Retain, m.Dup, m.Properties.SubscriptionIDs))
			ack = packet.Ack{Type: []packet.Type{0, packet.PUBACK, packet.PUBREC}[m.QoS], ID: m.ID}
		case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
			id := packet.ID(body[0])<<8 | packet.ID(body[1])
			if kind == packet.PUBREL {
				ack = packet.Ack{Type: packet.PUBCOMP, ID: id}
				break // the identifiers of messages that come in another order are others
			}
			code := packet.ReasonCode(0)
			if len(body) > 2 && packet.ReasonCode(body[2]) != packet.NoMatchingSubscribers {
				code = packet.ReasonCode(body[2])
			}
			got = append(got, fmt.Sprintf("%v %d %v", kind, id, code))
			if kind == packet.PUBREC && !code.Failed() {
				ack = packet.Ack{Type: packet.PUBREL, ID: id}
			}
		default:
			got = append(got, fmt.Sprintf("%v %x", kind, body))
		}
		if ack.Type != 0 {
			p.bytes(ack.Append(nil, p.version))
		}
	}
	return got
}

// BenchmarkMount is BenchmarkFanOut with clients that have a mount point, and such that have none.
func BenchmarkMount(b *testing.B) {
	for _, mount := range []string{"", "one/"} {
		for qos := range packet.QoS(3) {
			b.Run(fmt.Sprintf("mount=%s/qos=%d", mount, qos), func(b *testing.B) {
				l := newBench(b, func(c *setup) {
					c.Authenticator = &doorman{verdict: func(Request) Verdict { return Verdict{MountPoint: mount} }}
				})
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
}
