package hook

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/auth"
	"midge/internal/packet"
	"midge/internal/variable"
)

// topics allows everything but what has "no" in it.
func topics(q map[string]any) (string, error) {
	if strings.Contains(q["topic"].(string), "no") {
		return `{"result":"deny"}`, nil
	}
	return `{"result":"allow"}`, nil
}

// publish asks as the broker does: again and again until the answer is there.
func publish(a *Access, topic string, qos packet.QoS, retain bool) bool {
	for then := make(chan bool); !a.ReadyToPublish([]byte(topic), qos, retain, func() { close(then) }); then = make(chan bool) {
		<-then
	}
	return a.Publish([]byte(topic), qos, retain)
}

func subscribe(a *Access, filters ...string) (may []bool) {
	for then := make(chan bool); !a.ReadyToSubscribe(filters, func() { close(then) }); then = make(chan bool) {
		<-then
	}
	for _, f := range filters {
		may = append(may, a.Subscribe(f))
	}
	return may
}

func clientOf(s *Service, id string) *Access {
	return s.For(&auth.Identity{Client: variable.Client{User: "alice", ID: id, Listener: "l"}, Groups: []string{"g"}, Address: netip.MustParseAddr("10.0.0.1")})
}

// TestAccess asks about each client, topic, QoS and RETAIN once, as long as answers are remembered.
func TestAccess(t *testing.T) {
	for _, ttl := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			var last map[string]any
			s := &server{answer: func(q map[string]any) (string, error) { last = q; return topics(q) }, takes: time.Second}
			l := open(s, func(o *Options) { o.CacheTime, o.DeniedTime = ttl, ttl })
			a, b := clientOf(l.Service, "a"), clientOf(l.Service, "b")
			round := func() {
				for _, who := range []*Access{a, b} {
					for qos := range packet.QoS(3) {
						for _, topic := range []string{"x", "no"} {
							for _, retain := range []bool{false, true} {
								if may := publish(who, topic, qos, retain); may != (topic == "x") {
									t.Errorf("%s: %t", topic, may)
								}
							}
						}
					}
					if got := fmt.Sprint(subscribe(who, "x/#", "no", "x/#")); got != "[true false true]" {
						t.Errorf("subscribe: %s", got)
					}
					if !who.Receive([]byte("anything")) {
						t.Error("what was subscribed to is not received")
					}
				}
			}
			round()
			if got := fmt.Sprint(last); got != "map[action:subscribe address:10.0.0.1 client_id:b groups:[g] listener:l topic:x/# user:alice]" && ttl == 0 {
				t.Error(got)
			}
			n := s.asked.Load()
			if ttl > 0 && n != 2*(12+3)-2 && n != 2*(12+3) {
				t.Errorf("asked %d times", n)
			}
			round()
			if again := s.asked.Load() - n; (again > 0) != (ttl == 0) {
				t.Errorf("%v: asked %d times again", ttl, again)
			}
			if ttl == 0 {
				return
			}
			n = s.asked.Load()
			time.Sleep(ttl)
			publish(a, "x", 0, false)
			publish(a, "x", 0, false)
			if again := s.asked.Load() - n; again != 1 {
				t.Errorf("asked %d times when the time was over", again)
			}
			l.Reload()
			s.answer = func(map[string]any) (string, error) { return `{"result":"deny"}`, nil }
			if publish(a, "x", 0, false) {
				t.Error("the answer from before Reload counts")
			}
		})
	}
}

// TestAccessWithoutService denies, at once, what nobody answers; also of many filters.
func TestAccessWithoutService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: func(map[string]any) (string, error) { return "", errors.New("away") }}
		l := open(s, nil)
		a := clientOf(l.Service, "a")
		filters := make([]string, 2000)
		for i := range filters {
			filters[i] = fmt.Sprint("x/", i)
		}
		for _, may := range subscribe(a, filters...) {
			if may {
				t.Fatal("allowed")
			}
		}
		if publish(a, "x", 1, false) {
			t.Error("allowed")
		}
		if n := s.asked.Load(); n != 3 {
			t.Errorf("asked %d times", n)
		}
		s.answer = topics
		time.Sleep(5 * time.Second)
		if !publish(a, "x", 1, false) {
			t.Error("denied although it answers again")
		}
	})
}

// TestAccessStorm has as many clients publish at once as may wait, and more.
func TestAccessStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: topics, takes: 5 * time.Second}
		l := open(s, func(o *Options) { o.Concurrency, o.Queue = 32, 1000 })
		start, waiting := time.Now(), 0
		for i := range 2000 {
			id := fmt.Sprint(i)
			a := l.Service.For(&auth.Identity{Client: variable.Client{ID: id}, Address: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})})
			if !a.ReadyToPublish([]byte("x"), 0, false, func() {}) {
				waiting++
			} else if a.Publish([]byte("x"), 0, false) {
				t.Fatal("allowed without an answer")
			}
		}
		if time.Since(start) != 0 || waiting != 1032 {
			t.Errorf("%d wait", waiting)
		}
		time.Sleep(time.Hour)
	})
}
