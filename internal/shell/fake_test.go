package shell

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"midge/internal/client"
	"midge/internal/packet"
	"midge/internal/topic"
)

// world is a broker of a test: it gives every message to every client that
// subscribed to it, before publishing returns.
type world struct {
	all    []*fake
	refuse error                  // of Connect
	answer packet.ReasonCode      // of Subscribe and Unsubscribe, if it is a failure
	wishes []client.Options       // of all connections
	ended  []client.Disconnection // of those that ended
}

type fake struct {
	world   *world
	options client.Options
	filters []string
	cut     bool
}

func (w *world) dial(_ context.Context, o client.Options) (conn, error) {
	w.wishes = append(w.wishes, o)
	if w.refuse != nil {
		return nil, w.refuse
	}
	f := &fake{world: w, options: o}
	w.all = append(w.all, f)
	return f, nil
}

func (f *fake) Connected() client.Connected {
	c := client.Connected{ClientID: f.options.ClientID}
	if c.ClientID == "" {
		c.ClientID = "assigned"
	}
	return c
}

func (f *fake) Publish(_ context.Context, m client.Message) (client.Published, error) {
	for _, to := range f.world.all {
		if slices.ContainsFunc(to.filters, func(filter string) bool { return topic.Match(filter, m.Topic) }) {
			to.options.Received(m)
		}
	}
	return client.Published{}, nil
}

func (f *fake) Subscribe(_ context.Context, subs []client.Subscription, _ ...client.UserProperty) (answers []packet.ReasonCode, err error) {
	for _, sub := range subs {
		if f.world.answer.Failed() {
			answers = append(answers, f.world.answer)
			continue
		}
		f.filters = append(f.filters, sub.Filter)
		answers = append(answers, packet.ReasonCode(sub.QoS))
	}
	return answers, nil
}

func (f *fake) Unsubscribe(_ context.Context, filters []string, _ ...client.UserProperty) (answers []packet.ReasonCode, err error) {
	for _, filter := range filters {
		f.filters = slices.DeleteFunc(f.filters, func(have string) bool { return have == filter })
		answers = append(answers, f.world.answer)
	}
	return answers, nil
}

func (f *fake) Disconnect(d client.Disconnection) error {
	f.world.ended = append(f.world.ended, d)
	return nil
}

func (f *fake) Close() { f.cut = true }

// newTestShell returns a shell that talks to w and runs no loop.
func newTestShell(t testing.TB, w *world) (*Shell, *strings.Builder) {
	var out strings.Builder
	s := newShell(Config{Connect: client.Options{Address: "mqtt://broker", CleanStart: true}}, newScript(t.Context(), "test", strings.NewReader(""), &out))
	s.dial = w.dial
	return s, &out
}

// must runs lines that have to succeed.
func must(t testing.TB, s *Shell, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := s.execute(t.Context(), line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

func TestConnectOptions(t *testing.T) {
	w := &world{}
	s, _ := newTestShell(t, w)
	must(t, s, `connect a -a host:1884 -V 3.1.1 -u user -P pw -c -k 7 --will-topic t --will-payload p --will-qos 2 --will-retain`)
	o := w.wishes[0]
	if o.Address != "mqtt://host:1884" || o.Version != packet.V311 || o.Username != "user" || string(o.Password) != "pw" || !o.HasPassword || o.CleanStart || o.KeepAlive.Seconds() != 7 {
		t.Errorf("%+v", o)
	}
	if o.Will == nil || o.Will.Topic != "t" || string(o.Will.Payload) != "p" || o.Will.QoS != 2 || !o.Will.Retain {
		t.Errorf("will %+v", o.Will)
	}
	must(t, s, "set user-property site=north", "set user-property floor=2", "connect -x 60 --receive-maximum 5 --maximum-packet-size 99 --topic-alias-maximum 3 --insecure --server-name x --proxy socks5h://b")
	o = w.wishes[1]
	if o.Version != packet.V5 || o.SessionExpiry != 60 || o.ReceiveMaximum != 5 || o.MaximumPacketSize != 99 || o.TopicAliasMaximum != 3 || len(o.UserProperties) != 2 || o.Proxy != "socks5h://b" || !o.CleanStart || o.Will != nil {
		t.Errorf("%+v", o)
	}
	if o.TLS == nil || !o.TLS.InsecureSkipVerify || o.TLS.ServerName != "x" {
		t.Errorf("TLS %+v", o.TLS)
	}
	if now := s.clients.current().name; now != "assigned" {
		t.Errorf("the current client is %s", now)
	}
	must(t, s, "connect -V 3.1", "connect -V 3.1")
	if first, second := w.wishes[2].ClientID, w.wishes[3].ClientID; first == "" || first == second {
		t.Errorf("client ids made up: %q, %q", first, second)
	}
}

func TestDisconnect(t *testing.T) {
	w := &world{}
	s, out := newTestShell(t, w)
	must(t, s, "connect a", "connect b", "connect c", "use a", "disconnect c -x 9 --with-will", "disconnect", "disconnect b --abort")
	if len(w.ended) != 2 || w.ended[0].Reason != packet.DisconnectWithWill || *w.ended[0].SessionExpiry != 9 || w.ended[1].SessionExpiry != nil {
		t.Errorf("%+v", w.ended)
	}
	if !w.all[1].cut || w.all[0].cut {
		t.Error("which connection was cut?")
	}
	for _, want := range []string{"c: disconnected\na: disconnected\nb: connection cut\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestLost proves that a lost connection shows, and that connect replaces it
// once it succeeds, but not before.
func TestLost(t *testing.T) {
	w := &world{}
	s, out := newTestShell(t, w)
	s.live = true
	must(t, s, "set user-property k=v", "connect a -u user -D k=w --will-topic t")
	w.all[0].options.Closed(errors.New("pulled the plug"))
	if p := s.prompt(); p != "a (lost)> " {
		t.Errorf("prompt %q", p)
	}
	must(t, s, "expect --lost", "status")
	w.refuse = errors.New("nobody home")
	if err := s.execute(t.Context(), "connect a"); err != w.refuse || len(s.clients.all) != 1 {
		t.Errorf("%v, %d clients", err, len(s.clients.all))
	}
	w.refuse = nil
	must(t, s, "connect a -k 9")
	o := w.wishes[len(w.wishes)-1]
	if o.Username != "user" || len(o.UserProperties) != 2 || o.Will == nil || o.KeepAlive.Seconds() != 9 {
		t.Errorf("connected anew with %+v", o)
	}
	if p := s.prompt(); p != "a> " || len(s.clients.all) != 1 {
		t.Errorf("prompt %q, %d clients", p, len(s.clients.all))
	}
	for _, want := range []string{"a: the connection is lost: pulled the plug\n", "* a: lost its connection to mqtt://broker: pulled the plug"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestRefusedSubscription(t *testing.T) {
	w := &world{answer: packet.NotAuthorized}
	s, _ := newTestShell(t, w)
	must(t, s, "connect a")
	for line, want := range map[string]string{
		"sub x":   "subscribe to x: the broker refused: not authorized",
		"unsub x": "unsubscribe from x: the broker refused: not authorized",
	} {
		if err := s.execute(t.Context(), line); err == nil || err.Error() != want {
			t.Errorf("%s: %v", line, err)
		}
	}
	if n := len(s.clients.current().subscriptions); n != 0 {
		t.Errorf("%d subscriptions", n)
	}
}

// FuzzLine proves that no line makes the shell panic, or fail to come back.
func FuzzLine(f *testing.F) {
	for _, c := range commands() {
		for _, example := range c.examples {
			f.Add(example)
			f.Add("! " + example)
		}
	}
	f.Add("pub t @/dev/null --qos=")
	f.Add("expect t x -q1 --dup --id 0")
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "@/") && strings.Contains(line, "dev") {
			return // don't let it read devices
		}
		if len(line) > 200 {
			return // completing at each place is quadratic: many short lines find more
		}
		s, _ := newTestShell(t, &world{})
		must(t, s, "connect fuzz", "sub #", "pub a/b text", "packet save name packet", "set timeout 1ms")
		for pos := range len(line) + 1 {
			if newLine, newPos, _ := s.complete(line, pos); newPos < 0 || newPos > len(newLine) {
				t.Fatalf("completing %q at %d: %q, %d", line, pos, newLine, newPos)
			}
		}
		if s.secret(line) && !strings.Contains(line, "P") && !strings.Contains(line, "password") && !strings.Contains(line, "proxy") {
			t.Fatalf("%q is no secret", line)
		}
		// Times that a line may name are for users; a test doesn't wait for them.
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errInterrupted)
		_ = s.execute(ctx, line)
		_ = s.prompt()
		s.end()
	})
}
