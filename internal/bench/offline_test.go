package bench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/packet"
)

// runOffline runs a scenario in virtual time against a broker that keeps
// sessions and that restart, if not nil, ends and starts again.
func runOffline(t *testing.T, b *testBroker, v packet.Version, s Scenario, o Options, restart func(kill bool) (Restarting, error)) (r *Result, err error) {
	t.Helper()
	b.version, b.sessions = v, map[string]*testSession{}
	synctest.Test(t, func(t *testing.T) {
		o.network.Dial = b.dial
		target := Target{Address: "127.0.0.1:1883", Version: v}
		if restart != nil {
			target.Restart = func(_ context.Context, kill bool) (Restarting, error) { return restart(kill) }
		}
		r, err = Run(t.Context(), target, s, o)
		b.running.Wait()
	})
	return r, err
}

// TestOffline proves that sessions get what waited for them, all of them or
// those that return, that no more of them are connected at a time than must be,
// and that nothing is left at the broker.
func TestOffline(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for _, tt := range []struct {
			name                 string
			returning, publisher int
			qos                  int
			discard              bool
		}{
			{"all", 0, 3, 1, false},
			{"all, QoS 2", 0, 3, 2, false},
			{"some", 7, 3, 1, false},
			{"one publisher", 1, 1, 2, false},
			{"thrown away", 7, 3, 1, true},
		} {
			s, err := Parse("persistent-200-5")
			if err != nil {
				t.Fatal(err)
			}
			s.Publishers, s.Returning, s.QoS, s.Settle = tt.publisher, tt.returning, tt.qos, Duration(time.Second)
			b := newTestBroker()
			most := 0
			b.greet = func(n int, _ *packet.Connack) bool {
				if n <= 200 { // the subscribers are first; called without the lock
					b.mu.Lock()
					most = max(most, len(b.conns))
					b.mu.Unlock()
				}
				return true
			}
			r, err := runOffline(t, b, v, s, Options{Discard: tt.discard}, nil)
			if err != nil {
				t.Fatal(v, tt.name, err)
			}
			want := 200
			if tt.returning > 0 {
				want = tt.returning
			}
			if r.Failed() || r.Faulty.Sum() != 0 || r.Resumed.Sessions != want || r.Resumed.Messages != uint64(5*want) || r.Published.Messages != 1000 {
				t.Errorf("%v, %s: %+v, %d published, faults %q", v, tt.name, r.Resumed, r.Published.Messages, r.Faults)
			}
			if most > 2*connectBatch {
				t.Errorf("%v, %s: %d clients were connected to make sessions", v, tt.name, most)
			}
			if left := len(b.sessions); tt.discard != (left > 0) && v == packet.V311 {
				t.Errorf("%v, %s: %d sessions are left", v, tt.name, left)
			}
		}
	}
}

// TestRestart proves that the broker is ended in the way that was asked for when
// it has taken everything and all clients have left, that what is lost then is a
// fault, and that the result tells how long it took.
func TestRestart(t *testing.T) {
	s, err := Parse("persistent-20-5")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		how  Restart
		lose int // sessions
		err  error
		want string
	}{
		{RestartStop, 0, nil, ""},
		{RestartKill, 0, nil, ""},
		{RestartKill, 2, nil, "LOST 2 sessions"},
		{RestartKill, 0, errors.New("no answer to CONNECT"), "start the broker again: no answer to CONNECT"},
	} {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			s.Restart = tt.how
			b := newTestBroker()
			restart := func(kill bool) (Restarting, error) {
				synctest.Wait()
				b.mu.Lock()
				defer b.mu.Unlock()
				if kill != (tt.how == RestartKill) || len(b.conns) > 0 || b.received != 100 {
					t.Errorf("kill %v, with %d clients, after %d messages", kill, len(b.conns), b.received)
				}
				lost := 0
				for id := range b.sessions {
					if lost == tt.lose {
						break
					}
					delete(b.sessions, id)
					lost++
				}
				return Restarting{Stop: time.Second, Start: 2 * time.Second}, tt.err
			}
			r, err := runOffline(t, b, v, s, Options{}, restart)
			if tt.err != nil {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, %s: %v", v, tt.how, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(v, tt.how, err)
			}
			if got := r.Restarted; got == nil || got.How != tt.how || got.StopSeconds != 1 || got.StartSeconds != 2 {
				t.Errorf("%v: %+v", v, got)
			}
			if r.Failed() != (tt.want != "") || !strings.Contains(strings.Join(r.Faults, "\n"), tt.want) {
				t.Errorf("%v, %s, %d sessions lost: %q", v, tt.how, tt.lose, r.Faults)
			}
		}
	}
	s.Restart = RestartKill
	if _, err := Run(t.Context(), Target{Address: "127.0.0.1:1"}, s, Options{}); err == nil || !strings.Contains(err.Error(), "only 'midge bench compare'") {
		t.Errorf("nobody can start it again: %v", err)
	}
}
