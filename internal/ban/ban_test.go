package ban

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// TestParseLine proves what a line says, and that it is written as it was meant.
func TestParseLine(t *testing.T) {
	for line, want := range map[string]Ban{
		"address 192.0.2.7":                                   {Kind: Address, Value: "192.0.2.7"},
		"address 192.0.2.7/24":                                {Kind: Address, Value: "192.0.2.0/24"},
		"address ::ffff:192.0.2.7":                            {Kind: Address, Value: "192.0.2.7"},
		"address ::ffff:192.0.2.7/120":                        {Kind: Address, Value: "192.0.2.0/24"},
		"address 2001:db8::1/32":                              {Kind: Address, Value: "2001:db8::/32"},
		"address 0.0.0.0/0":                                   {Kind: Address, Value: "0.0.0.0/0"},
		"client sensor-7":                                     {Kind: Client, Value: "sensor-7"},
		"  client\t\"sensor \\\"7\\\"\"  ":                    {Kind: Client, Value: `sensor "7"`},
		`client "#1"`:                                         {Kind: Client, Value: "#1"},
		`client until=x`:                                      {Kind: Client, Value: "until=x"},
		"user ü":                                              {Kind: User, Value: "ü"},
		"user m until=2026-11-28T13:00:00Z":                   {Kind: User, Value: "m", Until: now.Add(time.Hour)},
		`user m reason="too much, \"really\""`:                {Kind: User, Value: "m", Reason: `too much, "really"`},
		`user m reason=noise until=2026-11-28T14:00:00+01:00`: {Kind: User, Value: "m", Reason: "noise", Until: now.Add(time.Hour)},
	} {
		got, ok, err := ParseLine(line)
		if got.Until = got.Until.UTC(); want.Until.IsZero() {
			got.Until = want.Until
		}
		if err != nil || !ok || got != want {
			t.Errorf("%s: %+v, %v, %v", line, got, ok, err)
			continue
		}
		again, ok, err := ParseLine(got.Line())
		if again.Until = again.Until.UTC(); want.Until.IsZero() {
			again.Until = want.Until
		}
		if err != nil || !ok || again != want {
			t.Errorf("%s is written as %s: %v", line, got.Line(), err)
		}
	}
	for _, line := range []string{"", " ", "# client x", "\t#"} {
		if _, ok, err := ParseLine(line); ok || err != nil {
			t.Errorf("%q: %v, %v", line, ok, err)
		}
	}
	for _, line := range []string{
		"client", "client \"", `client "a"b`, "ip 1.2.3.4", "address 1.2.3", "address fe80::1%eth0", "address 1.2.3.4/33", "user \"\"",
		"user a b", "user a until=tomorrow", "user a for=1h", "user a reason=\"\x01\"", "client \xff", `client "a\x00"`,
		"user " + strings.Repeat("x", maxText+1), "user a reason=" + strings.Repeat("x", maxReason+1),
	} {
		if _, ok, err := ParseLine(line); ok || err == nil {
			t.Errorf("%.60q is taken", line)
		}
	}
}

// TestList proves who is banned, and until when.
func TestList(t *testing.T) {
	bans, faults := Parse("bans", []byte(`
# ours
address 192.0.2.0/24 reason=net
address 192.0.2.7 until=2026-11-28T13:00:00Z reason=one
address 2001:db8::/32
client c until=2026-11-28T13:00:00Z
client c until=2026-11-28T12:30:00Z
user u
broken
`))
	if len(faults) != 1 || faults[0].Error() != "bans:9: \"broken\" can't be banned; say address, client or user" && !strings.HasPrefix(faults[0].Error(), "bans:9: ") {
		t.Errorf("faults: %v", faults)
	}
	l := Of(bans)
	clock := now
	l.Now = func() time.Time { return clock }
	reason := func(a string) string {
		if b := l.Address(netip.MustParseAddr(a)); b != nil {
			return "banned " + b.Reason
		}
		return ""
	}
	check := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("one", reason("192.0.2.7"), "banned one")
	check("mapped", reason("::ffff:192.0.2.7"), "banned one")
	check("net", reason("192.0.2.8"), "banned net")
	check("other", reason("192.0.3.7"), "")
	check("IPv6", reason("2001:db8:1::1"), "banned ")
	check("other IPv6", reason("2001:db9::1"), "")
	if l.Client("c") == nil || l.Client("C") != nil || l.User("u") == nil || l.User("c") != nil || l.User("") != nil || l.Len() != 5 {
		t.Error("clients or users")
	}
	clock = now.Add(45 * time.Minute)
	if l.Client("c") == nil {
		t.Error("the ban that ends last does not count")
	}
	clock = now.Add(time.Hour)
	check("one, later", reason("192.0.2.7"), "banned net") // the network still is
	if l.Client("c") != nil {
		t.Error("it does not end")
	}
	clock = now.Add(-24 * time.Hour) // the clock was set back
	if l.Client("c") == nil {
		t.Error("before its end it counts")
	}
	var none *List
	if none.Client("c") != nil || none.User("u") != nil || none.Address(netip.MustParseAddr("192.0.2.7")) != nil || none.Addresses() || none.Len() != 0 {
		t.Error("no list bans somebody")
	}
}

// TestEdit adds and removes bans, and leaves comments alone.
func TestEdit(t *testing.T) {
	name := filepath.Join(t.TempDir(), "bans")
	edit := func(f func(*Editor) error) {
		t.Helper()
		e, err := Edit(name)
		if err == nil {
			err = f(e)
		}
		if err == nil {
			err = e.Save()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add := func(kind Kind, value string, until time.Duration) {
		t.Helper()
		edit(func(e *Editor) error {
			b, err := New(kind, value)
			if until != 0 {
				b.Until = now.Add(until)
			}
			e.Add(b, now)
			return err
		})
	}
	add(Client, "a b", 0)
	if err := os.WriteFile(name, []byte("# ours\nclient \"a b\"\nbroken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	add(User, "gone", -time.Hour)
	add(Address, "10.1.2.3/8", time.Hour)
	add(Address, "10.0.0.0/8", 0)
	edit(func(e *Editor) error { return e.Remove(Ban{Kind: Client, Value: "a b"}) })
	text, _ := os.ReadFile(name)
	if string(text) != "# ours\nbroken\naddress 10.0.0.0/8\n" {
		t.Errorf("%s", text)
	}
	e, err := Edit(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Remove(Ban{Kind: User, Value: "a b"}); err == nil {
		t.Error("who is not banned is removed")
	}
}

// FuzzParse proves that no text makes Parse panic, and that what it has read is written so
// that it is read again.
func FuzzParse(f *testing.F) {
	f.Add("address 192.0.2.0/24 until=2026-11-28T13:00:00Z reason=\"a b\"")
	f.Add("client \"\\u00fc\"\nuser x")
	f.Fuzz(func(t *testing.T, text string) {
		bans, _ := Parse("x", []byte(text))
		Of(bans)
		for _, b := range bans {
			again, ok, err := ParseLine(b.Line())
			if err != nil || !ok || again.Kind != b.Kind || again.Value != b.Value || again.Reason != b.Reason {
				t.Fatalf("%q is written as %q: %+v, %v", text, b.Line(), again, err)
			}
		}
	})
}
