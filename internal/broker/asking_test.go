package broker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"midge/internal/packet"
)

// oracle is an Authenticator whose Permissions have their answers later. A topic with "no" in it
// is denied.
type oracle struct {
	forget bool // an answer counts once

	mu    sync.Mutex
	known map[string]bool
	asked []string
	then  []func()
}

func (o *oracle) Connect(_ Request, done func(Verdict)) { done(Verdict{Permissions: o}) }

func (o *oracle) ready(then func(), questions ...string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.ContainsFunc(questions, func(q string) bool { return !o.known[q] }) {
		return true
	}
	o.asked = append(o.asked, questions...)
	o.then = append(o.then, func() {
		o.mu.Lock()
		for _, q := range questions {
			o.known[q] = true
		}
		o.mu.Unlock()
		then()
	})
	return false
}

func (o *oracle) may(question string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.known[question] {
		panic("it was not asked for: " + question)
	}
	if o.forget {
		delete(o.known, question)
	}
	return !strings.Contains(question, "no")
}

func (o *oracle) Publish(topic []byte, _ packet.QoS, _ bool) bool {
	return o.may("publish " + string(topic))
}
func (o *oracle) Subscribe(filter string) bool { return o.may("subscribe " + filter) }
func (o *oracle) Receive([]byte) bool          { return true }

func (o *oracle) ReadyToPublish(topic []byte, _ packet.QoS, _ bool, then func()) bool {
	return o.ready(then, "publish "+string(topic))
}

func (o *oracle) ReadyToSubscribe(filters []string, then func()) bool {
	var questions []string
	for _, f := range filters {
		questions = append(questions, "subscribe "+f)
	}
	return o.ready(then, questions...)
}

// answer gives all answers that are asked for, and reports whether there were any.
func (o *oracle) answer(w *world) bool {
	w.turn()
	o.mu.Lock()
	then := o.then
	o.then = nil
	o.mu.Unlock()
	for _, f := range then {
		f()
	}
	w.turn()
	return len(then) > 0
}

func consult(t *testing.T, o *oracle) *world {
	t.Helper()
	o.known = map[string]bool{}
	return newWorld(t, quietly(1, func(c *setup) { c.Authenticator = o }))
}

// TestPublishWaitsForAnswer has messages wait, in their order, until somebody has said whether
// the client may publish them. Others don't wait.
func TestPublishWaitsForAnswer(t *testing.T) {
	for _, v := range versions {
		for qos := range packet.QoS(3) {
			for _, forget := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/QoS %d/forget=%t", v, qos, forget), func(t *testing.T) {
					o := &oracle{forget: forget}
					w := consult(t, o)
					watcher := w.connect(v, "watcher")
					watcher.bytes((&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: []byte("#"), QoS: 0}}}).Append(nil, v))
					o.answer(w)
					watcher.next(packet.SUBACK)
					a, b := w.connect(v, "a"), w.connect(v, "b")
					var all []byte
					topics := []string{"x", "no", "y", "x", "no", "x"}
					for i, topic := range topics {
						m := packet.Publish{Topic: []byte(topic), Payload: fmt.Append(nil, i), QoS: qos}
						if qos > 0 {
							m.ID = packet.ID(i + 1)
						}
						all = m.Append(all, v)
					}
					a.bytes(all)
					w.turn()
					if m, came := watcher.silent(); came {
						t.Fatalf("%q came before the answer", m.Payload)
					}
					o.known["publish b"] = true
					b.publish("b", "b", 0, false)
					if m := watcher.want("b"); string(m.Topic) != "b" {
						t.Error("others wait, too")
					}
					for o.answer(w) {
					}
					for _, want := range []string{"0", "2", "3", "5"} {
						watcher.want(want)
					}
					w.turn()
					n := w.b.Counters()
					if n.RefusedAccess != 2 || n.PublishReceived != uint64(len(topics))+1 || n.Faults != 0 {
						t.Errorf("%d refusals, %d messages, %d faults", n.RefusedAccess, n.PublishReceived, n.Faults)
					}
					if n.PausedAccess == 0 {
						t.Error("nobody waited")
					}
					if asked := len(o.asked) - 1; !forget && asked != 3 || forget && asked != len(topics) {
						t.Errorf("asked %q", o.asked)
					}
				})
			}
		}
	}
}

// TestAliasWaitsForAnswer asks for the topic that an alias stands for.
func TestAliasWaitsForAnswer(t *testing.T) {
	o := &oracle{}
	w := consult(t, o)
	p := w.connect(packet.V5, "p")
	var all []byte
	for i, topic := range []string{"x", "", "no", ""} {
		m := packet.Publish{Topic: []byte(topic), QoS: 1, ID: packet.ID(i + 1)}
		m.Properties.TopicAlias = uint16(1 + i/2)
		all = m.Append(all, packet.V5)
	}
	p.bytes(all)
	for o.answer(w) {
	}
	if want := []string{"publish x", "publish no"}; !slices.Equal(o.asked, want) {
		t.Errorf("asked %q, want %q", o.asked, want)
	}
	if n := w.b.Counters().RefusedAccess; n != 2 || p.closed {
		t.Errorf("%d refusals; closed: %t", n, p.closed)
	}
}

// TestSubscribeWaitsForAnswer has SUBACK wait, and asks for what counts of a filter only.
func TestSubscribeWaitsForAnswer(t *testing.T) {
	for _, v := range versions {
		o := &oracle{forget: true}
		w := consult(t, o)
		p := w.connect(v, "p")
		s := packet.Subscribe{ID: 7}
		for _, filter := range []string{"x/#", "no", "$share/g/y", strings.Repeat("/", 500)} {
			s.Subscriptions = append(s.Subscriptions, packet.Subscription{Filter: []byte(filter), QoS: 1})
		}
		p.bytes(s.Append(nil, v))
		p.quiet()
		o.answer(w)
		ack := p.next(packet.SUBACK)
		if ack == nil {
			t.Fatalf("%v: no SUBACK", v)
		}
		if want := []string{"subscribe x/#", "subscribe no", "subscribe y"}; !slices.Equal(o.asked, want) {
			t.Errorf("%v: asked %q, want %q", v, o.asked, want)
		}
		codes := ack[len(ack)-4:]
		if refused := codes[1] >= 0x80 || v == packet.V31; codes[0] != 1 || !refused || codes[2] != 1 {
			t.Errorf("%v: codes % x", v, codes)
		}
	}
}

// TestWillWaitsForAnswer has CONNACK wait until it is known whether the client may have its will.
func TestWillWaitsForAnswer(t *testing.T) {
	for _, v := range versions {
		for _, topic := range []string{"will", "no"} {
			o := &oracle{}
			w := consult(t, o)
			p := w.dial(v)
			c := packet.Connect{Version: v, ClientID: []byte("p"), CleanStart: true, HasWill: true, Will: packet.Will{Topic: []byte(topic)}}
			p.bytes(c.Append(nil))
			p.quiet()
			o.answer(w)
			ack := p.next(packet.CONNACK)
			if ack == nil || (ack[1] == 0) != (topic == "will") {
				t.Errorf("%v, %s: CONNACK % x", v, topic, ack)
			}
			nothingJoins(t, w)
		}
	}
}

// TestAnswerForNobody comes when the client that waited has gone.
func TestAnswerForNobody(t *testing.T) {
	for _, will := range []bool{false, true} {
		for _, again := range []bool{false, true} {
			o := &oracle{}
			w := consult(t, o)
			c := packet.Connect{Version: packet.V5, ClientID: []byte("p"), CleanStart: true, HasWill: will, Will: packet.Will{Topic: []byte("w")}}
			p := w.dial(packet.V5)
			p.bytes(c.Append(nil))
			if !will {
				p.next(packet.CONNACK)
				p.publish("x", "x", 0, false)
			}
			w.turn()
			if len(o.then) != 1 {
				t.Fatalf("%d questions", len(o.then))
			}
			p.hang()
			if again {
				w.connect(packet.V5, "p")
			}
			o.answer(w)
			n := w.b.Counters()
			if n.Faults+n.Panics > 0 || n.PublishReceived > 0 {
				t.Errorf("%+v", n)
			}
		}
	}
}
