package auth

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/broker"
	"midge/internal/engine"
	"midge/internal/packet"
)

var here = netip.MustParseAddr("192.0.2.1")

// request is a CONNECT; "" for no password.
func request(user, password string) broker.Request {
	r := broker.Request{ClientID: "id", Peer: engine.Peer{Remote: netip.AddrPortFrom(here, 1234), Listener: "l"}}
	if user != "" {
		r.UserName = []byte(user)
	}
	if password != "" {
		r.Password = []byte(password)
	}
	return r
}

// told is a link that says what it is told to, at once or on another goroutine.
type told struct {
	answer Answer
	later  bool
	asked  *[]string
	name   string
}

func (l told) Check(_ *Request, done func(Answer)) {
	*l.asked = append(*l.asked, l.name)
	if !l.later {
		done(l.answer)
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { done(l.answer) })
	wg.Wait()
}

func verdict(a broker.Authenticator, r broker.Request) (v broker.Verdict) {
	n := 0
	a.Connect(r, func(got broker.Verdict) { v = got; n++ })
	if n != 1 {
		panic(fmt.Sprintf("done was called %d times", n))
	}
	return v
}

// TestChain asks links in order, until one decides.
func TestChain(t *testing.T) {
	end := time.Now()
	allow := Answer{Decision: Allow, User: "alice", ClientID: "hers", Expires: end}
	banned := Answer{Decision: Deny, Code: packet.Banned, Reason: "because"}
	for _, later := range []bool{false, true} {
		for _, tt := range []struct {
			name    string
			answers []Answer
			r       broker.Request
			asked   string
			want    broker.Verdict
		}{
			{"allow", []Answer{{}, allow, banned}, request("alice", "x"), "0 1", broker.Verdict{Principal: "alice", ClientID: "hers", Expires: end}},
			{"deny", []Answer{banned, allow}, request("alice", "x"), "0", broker.Verdict{Code: packet.Banned, Reason: "because"}},
			{"wrong", []Answer{{}, {}}, request("alice", "x"), "0 1", broker.Verdict{Code: packet.BadUserNameOrPassword, Refusal: broker.WrongCredentials, Reason: "wrong user name or password"}},
			{"nothing given", []Answer{{}}, request("", ""), "0", broker.Verdict{Code: packet.NotAuthorized, Refusal: broker.NoCredentials, Reason: "a user name and a password are asked for"}},
			{"no links", nil, request("", "x"), "", broker.Verdict{Code: packet.BadUserNameOrPassword, Refusal: broker.WrongCredentials, Reason: "wrong user name or password"}},
		} {
			t.Run(fmt.Sprintf("%s/later=%t", tt.name, later), func(t *testing.T) {
				var asked []string
				c := &Chain{}
				for i, a := range tt.answers {
					c.Links = append(c.Links, told{a, later, &asked, fmt.Sprint(i)})
				}
				if got := verdict(c, tt.r); !reflect.DeepEqual(got, tt.want) {
					t.Errorf("%+v, want %+v", got, tt.want)
				}
				if got := strings.Join(asked, " "); got != tt.asked {
					t.Errorf("asked %s, want %s", got, tt.asked)
				}
			})
		}
	}
}

// TestAnonymous lets in who says nothing, and others only if nobody checks them.
func TestAnonymous(t *testing.T) {
	for _, tt := range []struct {
		named          bool
		user, password string
		in             bool
	}{
		{false, "", "", true},
		{false, "alice", "", false},
		{false, "", "x", false},
		{false, "alice", "x", false},
		{true, "alice", "x", true},
		{true, "", "", true},
	} {
		v := verdict(&Chain{Links: []Link{Anonymous{Named: tt.named}}}, request(tt.user, tt.password))
		if v.Code.Failed() == tt.in || v.Principal != "" {
			t.Errorf("%+v: %+v", tt, v)
		}
	}
}

// TestIdentifiers lets users have their own client identifiers only.
func TestIdentifiers(t *testing.T) {
	for _, tt := range []struct {
		pattern, user, id string
		ok                bool
	}{
		{"", "", "any", true},
		{"%u", "alice", "alice", true},
		{"%u", "alice", "alice1", false},
		{"%u", "", "", false},
		{"%u-*", "alice", "alice-", true},
		{"%u-*", "alice", "alice-phone", true},
		{"%u-*", "alice", "alice", false},
		{"%u-*", "al", "alice-phone", false},
		{"%u-*", "", "-phone", false},
		{"dev/%u/*", "alice", "dev/alice/1", true},
		{"dev/%u/*", "alice", "dev/bob/1", false},
		{"%{cn}-*", "alice", "box 1-a", true},
		{"%{cn}-*", "alice", "alice-a", false},
		{"%{ou}-*", "alice", "-a", false},
	} {
		p, err := ParseIdentifiers(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		c := &Chain{Links: []Link{told{answer: Answer{Decision: Allow, User: tt.user}, asked: new([]string)}}, Identifiers: p}
		r := certified("", "")
		r.ClientID = tt.id
		v := verdict(c, r)
		if v.Code.Failed() == tt.ok || !tt.ok && (v.Code != packet.ClientIdentifierNotValid || v.Refusal != broker.ForeignIdentifier) {
			t.Errorf("%+v: %+v", tt, v)
		}
		if r.Assigned = true; verdict(c, r).Code.Failed() {
			t.Errorf("%+v: an identifier that the broker has made is refused", tt)
		}
	}
	for _, bad := range []string{"x", "%u%u", "*%u", "%c", "%u*x", "%l", "%{cn}%u", "%{x}"} {
		if _, err := ParseIdentifiers(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// certified is a CONNECT with a certificate that was verified.
func certified(user, organization string) broker.Request {
	r := request(user, "")
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "box 1", Organization: []string{organization}}, DNSNames: []string{"box1.example"}}
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}, VerifiedChains: [][]*x509.Certificate{{c}}}
	return r
}

// TestMountPoints gives clients mount points, by who they are. A name that could be more
// than one topic level is refused, and so is a client without a name.
func TestMountPoints(t *testing.T) {
	unverified := certified("alice", "Plant")
	unverified.TLS.VerifiedChains = nil
	for _, tt := range []struct {
		text, user string
		r          broker.Request
		want       string // "!" and a part of the reason if it is refused
	}{
		{"", "a/b", request("", ""), ""},
		{"plant/", "", request("", ""), "plant/"},
		{"%u/", "alice", request("", ""), "alice/"},
		{"x/t-%u/%c/", "alice", request("", ""), "x/t-alice/id/"},
		{"%l/", "alice", request("", ""), "l/"},
		{"%{o}/%{cn}/", "alice", certified("alice", "Plant"), "Plant/box 1/"},
		{"%{san_dns}/", "alice", certified("alice", "Plant"), "box1.example/"},
		{"%u/", "", request("alice", ""), "!no %u"},
		{"%u/", "a/b", request("", ""), "!'/'"},
		{"%u/", "+", request("", ""), "!'+'"},
		{"%u/", "a#", request("", ""), "!'#'"},
		{"%u/", "$SYS", request("", ""), "!begins with $"},
		{"x/%u/", "$SYS", request("", ""), "x/$SYS/"},
		{"%{o}/", "alice", certified("alice", "a/b"), "!'/'"},
		{"%{o}/", "alice", certified("alice", ""), "!no %{o}"},
		{"%{o}/", "alice", request("", ""), "!no %{o}"},
		{"%{o}/", "alice", unverified, "!no %{o}"},
	} {
		m, err := ParseMountPoint(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		var told Identity
		c := &Chain{
			Links: []Link{asUser(tt.user)}, MountPoint: m,
			Permissions: func(i Identity) broker.Permissions { told = i; return nil },
		}
		v := verdict(c, tt.r)
		reason, refused := strings.CutPrefix(tt.want, "!")
		switch {
		case refused:
			if v.Code != packet.NotAuthorized || !strings.Contains(v.Reason, reason) {
				t.Errorf("%s: %+v, want it refused: %s", tt.text, v, reason)
			}
		case v.Code.Failed() || v.MountPoint != tt.want || told.MountPoint != tt.want:
			t.Errorf("%s: %+v, want %q", tt.text, v, tt.want)
		}
	}
	for _, bad := range []string{"a", "/a", "%u%c/", "a/%u-%{cn}/", "%{x}/", "%{cn/"} {
		if _, err := ParseMountPoint(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// asUser lets a user in.
func asUser(user string) Link {
	return told{answer: Answer{Decision: Allow, User: user}, asked: new([]string)}
}

// TestChainTellsWho gives the access list who the client is.
func TestChainTellsWho(t *testing.T) {
	var got Identity
	a := Answer{Decision: Allow, User: "alice", Groups: []string{"g"}}
	c := &Chain{
		Links:       []Link{told{answer: a, asked: new([]string)}},
		Permissions: func(i Identity) broker.Permissions { got = i; return nil },
	}
	verdict(Listeners{"l": c}, request("alice", "x"))
	if got.User != "alice" || got.ID != "id" || got.Listener != "l" || len(got.Groups) != 1 {
		t.Errorf("%+v", got)
	}
	if v := verdict(Listeners{}, request("", "")); !v.Code.Failed() {
		t.Error("a listener without a chain lets in everybody")
	}
}

// TestThrottle holds up a user from an address after too many wrong passwords,
// without asking any link, and gives tries back one at a time.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		c := &Chain{Throttle: NewThrottle(3, 10*time.Second), Links: []Link{told{answer: Wrong(), asked: &asked}}}
		codes := func(user string, from string) (all []packet.ReasonCode) {
			r := request(user, "x")
			r.Remote = netip.AddrPortFrom(netip.MustParseAddr(from), 1)
			for range 5 {
				all = append(all, verdict(c, r).Code)
			}
			return all
		}
		wrong, held := packet.BadUserNameOrPassword, packet.ConnectionRateExceeded
		check := func(what string, got []packet.ReasonCode, want ...packet.ReasonCode) {
			t.Helper()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		check("first", codes("a", "192.0.2.1"), wrong, wrong, wrong, held, held)
		if len(asked) != 3 {
			t.Errorf("%d were asked, want 3", len(asked))
		}
		check("another user", codes("b", "192.0.2.1"), wrong, wrong, wrong, held, held)
		check("another address", codes("a", "192.0.2.2"), wrong, wrong, wrong, held, held)
		check("the same address, as IPv6", codes("a", "::ffff:192.0.2.2"), held, held, held, held, held)
		check("IPv6", codes("a", "2001:db8::1"), wrong, wrong, wrong, held, held)
		check("the same network", codes("a", "2001:db8::2"), held, held, held, held, held)
		time.Sleep(10 * time.Second)
		check("one is given back", codes("a", "192.0.2.1"), wrong, held, held, held, held)
		time.Sleep(time.Hour)
		check("all are", codes("a", "192.0.2.1"), wrong, wrong, wrong, held, held)
		r := request("a", "")
		if v := verdict(c, r); v.Code == held {
			t.Error("somebody without a password is held up")
		}
		right := &Chain{Throttle: c.Throttle, Links: []Link{told{answer: Answer{Decision: Allow}, asked: &asked}}}
		if v := verdict(right, request("a", "right")); v.Code != held {
			t.Errorf("a right password is looked at meanwhile: %v", v.Code)
		}
		for range 100 {
			if v := verdict(right, request("c", "right")); v.Code.Failed() {
				t.Fatalf("right passwords count: %v", v.Code)
			}
		}
		if off := NewThrottle(0, time.Second); off.Holds([]byte("a"), here) {
			t.Error("0 tries hold everybody up")
		}
	})
}

// TestThrottleByAddress holds up an address that tries many names.
func TestThrottleByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(3, 10*time.Second)
		n := 0
		for ; n < 1000 && !th.Holds(fmt.Append(nil, n), here); n++ {
			th.Failed(fmt.Append(nil, n), here)
		}
		if n != 3*perAddress {
			t.Errorf("held up after %d names, want %d", n, 3*perAddress)
		}
		if th.Holds([]byte("x"), netip.MustParseAddr("192.0.2.9")) {
			t.Error("another address is held up, too")
		}
		time.Sleep(10 * time.Second)
		if n = 0; th.Holds([]byte("x"), here) {
			t.Error("nothing is given back")
		}
	})
}

// TestThrottleForgets fills the table from many addresses. Who owes most stays in
// it.
func TestThrottleForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(10, time.Second)
		for range 10 {
			th.Failed([]byte("a"), here)
		}
		for i := range uint32(2 * maxThrottled) {
			th.Failed([]byte("b"), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		}
		if !th.Holds([]byte("a"), here) {
			t.Error("who owes most was forgotten")
		}
	})
}

// TestPool bounds how much runs, how much memory that takes, and how much waits.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(3, 100, 4)
		var mu sync.Mutex
		running, most, memory, mostMemory, finished := 0, 0, 0, 0, 0
		work := func(bytes int) func() {
			return func() {
				mu.Lock()
				running++
				memory += bytes
				most, mostMemory = max(most, running), max(mostMemory, memory)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				running--
				memory -= bytes
				finished++
				mu.Unlock()
			}
		}
		other := netip.MustParseAddr("192.0.2.2")
		taken := 0
		for i := range 20 {
			if p.Do(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 40, work(40)) {
				taken++
			}
		}
		if taken != 2+4 {
			t.Errorf("%d were taken, want 2 that run and 4 that wait", taken)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if most != 2 || mostMemory != 80 || finished != taken {
			t.Errorf("%d at a time with %d bytes, %d finished of %d", most, mostMemory, finished, taken)
		}
		most = 0
		for range 20 {
			p.Do(here, 0, work(0))
		}
		if !p.Do(other, 500, work(500)) {
			t.Error("one address takes all places")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if most != 3 {
			t.Errorf("%d at a time, want 3", most)
		}
		if p.running != 0 || p.used != 0 || len(p.waiting) != 0 || len(p.from) != 0 {
			t.Errorf("something is left: %d running, %d bytes, %d waiting, %d addresses", p.running, p.used, len(p.waiting), len(p.from))
		}
	})
}

// TestResize gives a pool other bounds while it works.
func TestResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(1, 100, 4)
		release := make(chan bool)
		running := 0
		var mu sync.Mutex
		add := func(want bool) {
			t.Helper()
			done := func() {
				mu.Lock()
				running++
				mu.Unlock()
				<-release
			}
			if got := p.Do(netip.Addr{}, 10, done); got != want {
				t.Errorf("taken: %t, want %t", got, want)
			}
			synctest.Wait()
		}
		runs := func(want int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if running != want {
				t.Errorf("%d run, want %d", running, want)
			}
		}
		add(true)
		add(true)
		add(true)
		add(false) // half of the queue is from one address
		runs(1)
		p.Resize(2, 100, 10)
		runs(2)
		add(true)
		p.Resize(3, 20, 2)
		runs(2) // more memory than there may be
		add(false)
		close(release)
		runs(4)
	})
}

// TestThrottleChanges gives a throttle other bounds: what is owed stays.
func TestThrottleChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := NewThrottle(3, time.Second)
		for range 3 {
			x.Failed([]byte("u"), here)
		}
		holds := func(want bool) {
			t.Helper()
			if got := x.Holds([]byte("u"), here); got != want {
				t.Errorf("holds: %t, want %t", got, want)
			}
		}
		holds(true)
		x.Change(5, time.Second)
		holds(false)
		x.Change(0, time.Second)
		holds(false)
		x.Failed([]byte("u"), here)
		x.Change(3, time.Second)
		holds(true)
		time.Sleep(time.Second)
		holds(false)
	})
}
