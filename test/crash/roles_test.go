//go:build integration && unix

package crash

import (
	"math/rand/v2"
	"strings"
	"time"

	"midge/internal/packet"
)

// silent is the handler of clients that neither publish nor subscribe.
type silent struct{}

func (silent) received(*packet.Publish)                  {}
func (silent) acknowledged(*outgoing, packet.ReasonCode) {}

// publisher publishes on its flows and counts what is acknowledged.
type publisher struct {
	*client
	ledger *ledger
	flows  []flow
	flaps  bool // loses its connection now and then
	rng    *rand.Rand
}

func (p *publisher) received(m *packet.Publish) {
	p.verdict.violation(protocol, "%s got a message on %s without a subscription", p.name(), m.Topic)
}

func (p *publisher) acknowledged(o *outgoing, code packet.ReasonCode) {
	// After a PUBREL that was sent again, the exchange may be over at the other
	// side: 0x92 is as good as 0x00 (MQTT 5.0 section 4.3.3).
	if code.Failed() && !(o.released && code == packet.PacketIdentifierNotFound) {
		p.verdict.violation(protocol, "%s: %v, %d refused: %v", p.name(), o.flow, o.seq, code)
		return
	}
	p.ledger.acknowledge(o.flow, o.seq)
}

// load publishes in bursts until stop is closed or the broker is gone.
func (p *publisher) load(addr string, round int, stop <-chan struct{}) {
	for {
		for range 1 + p.rng.IntN(2*window) {
			f := p.flows[p.rng.IntN(len(p.flows))]
			seq := p.ledger.next(f)
			o := &outgoing{flow: f, seq: seq, payload: f.payload(seq, round)}
			if !p.publish(o, func() { p.ledger.send(f, seq) }) {
				return
			}
			if f.qos == 0 {
				p.ledger.acknowledge(f, seq)
			}
		}
		if pause(stop, p.rng, 60*time.Millisecond) {
			return
		}
		if p.flaps && p.rng.IntN(8) == 0 {
			p.hangUp()
			if p.dial(addr) != nil {
				return
			}
		}
	}
}

// pause lets a random time pass, up to limit; true means stop.
func pause(stop <-chan struct{}, rng *rand.Rand, limit time.Duration) bool {
	return sleep(stop, time.Duration(rng.Int64N(int64(limit))))
}

// sleep lets a time pass; true means stop.
func sleep(stop <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-stop:
		return true
	case <-timer.C:
		return false
	}
}

// subscriber is a client with one subscription, or a member of a group.
type subscriber struct {
	*client
	ledger   *ledger
	receiver *receiver
	filter   string
	flaps    bool // loses its connection now and then
	rests    bool // is away in some rounds
	away     int  // rounds to stay away
	rng      *rand.Rand
}

func (s *subscriber) received(m *packet.Publish)              { s.ledger.receive(s.receiver, s.name(), m) }
func (*subscriber) acknowledged(*outgoing, packet.ReasonCode) {}

// load loses and regains its connection until stop is closed.
func (s *subscriber) load(addr string, stop <-chan struct{}) {
	for s.flaps && !pause(stop, s.rng, 150*time.Millisecond) {
		s.hangUp()
		if pause(stop, s.rng, 50*time.Millisecond) || s.dial(addr) != nil {
			return
		}
	}
}

// drained waits until the receiver has got all that it is owed. It gives up if
// nothing comes any more, and reports the loss.
func (s *subscriber) drained() {
	for s.ledger.owed(s.receiver) > 0 {
		timer := time.NewTimer(patience)
		select {
		case <-s.receiver.news:
			timer.Stop()
		case <-s.verdict.violated:
			timer.Stop()
			return
		case <-timer.C:
			for _, line := range s.ledger.missing(s.receiver, 3) {
				s.verdict.violation(lost, "%s", line)
			}
			return
		}
	}
}

// under returns a function that reports whether a topic is below a level.
func under(level string) func(string) bool {
	return func(topic string) bool { return strings.HasPrefix(topic, level+"/") }
}
