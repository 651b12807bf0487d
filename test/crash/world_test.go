//go:build integration && unix

package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"midge/internal/packet"
)

// world is a broker with its clients.
type world struct {
	rng         *rand.Rand
	verdict     *verdict
	ledger      *ledger
	broker      *broker
	interval    time.Duration // durability_interval; 0: what is acknowledged is on disk
	publishers  []*publisher
	subscribers []*subscriber
	retainer    *retainer
	switcher    *switcher
	returner    *client       // has a will, and always returns before its delay ends
	wills       []*willBearer // of the round
	owed        []*willBearer // of earlier rounds, not in the ledger yet
}

func newWorld(seed uint64, command []string, dir string) *world {
	v := newVerdict()
	w := &world{rng: rand.New(rand.NewPCG(seed, 0)), verdict: v, ledger: newLedger(v)}
	w.broker = &broker{command: command, dir: dir, rng: w.fork()}

	w.addPublisher("pub-1-v311", packet.V311, true, false, 1)
	w.addPublisher("pub-1-v5", packet.V5, true, true, 1)
	w.addPublisher("pub-1-clean", packet.V5, false, false, 1)
	w.addPublisher("pub-2-v311", packet.V311, true, true, 2)
	w.addPublisher("pub-2-v5", packet.V5, true, false, 2)
	w.addPublisher("pub-mixed", packet.V5, true, false, 0, 1, 2)

	w.addSubscriber("sub-1-v311", packet.V311, "load/#", 1)
	w.addSubscriber("sub-1-v5-flaps", packet.V5, "load/+/all", 1).flaps = true
	w.addSubscriber("sub-2-v5", packet.V5, "load/#", 2).setReceiveMaximum(8)
	w.addSubscriber("sub-2-v311-flaps", packet.V311, "load/+/all", 2).flaps = true
	w.addSubscriber("sub-1-v5-rests", packet.V5, "load/#", 1).rests = true
	w.addSubscriber("sub-2-v311-rests", packet.V311, "load/+/all", 2).rests = true
	w.addSubscriber("sub-2-v5-rests", packet.V5, "load/#", 2).rests = true
	for i := range 3 {
		s := w.addSubscriber(fmt.Sprint("member-", i), packet.V5, "$share/group/load/#", 2)
		s.flaps = i == 0
	}
	wills := w.addSubscriber("sub-wills", packet.V5, "wills/#", 2)
	wills.receiver.matches = under("wills")

	w.addRetainer()
	w.switcher = newSwitcher(v, w.fork())
	w.returner = newClient(v, "returner", packet.V5, true, silent{})
	w.returner.setWill(flow{publisher: "returner", topic: "wills/returner", qos: 1}, []byte("but it returned"), 3600)
	return w
}

// fork returns a source of chance for one goroutine.
func (w *world) fork() *rand.Rand { return rand.New(rand.NewPCG(w.rng.Uint64(), 0)) }

func (w *world) addPublisher(id string, v packet.Version, durable, flaps bool, levels ...packet.QoS) {
	p := &publisher{ledger: w.ledger, flaps: flaps, rng: w.fork()}
	for _, qos := range levels {
		// All publishers meet on one topic and have others to themselves.
		for _, topic := range []string{"load/common/all", "load/" + id + "/all", "load/" + id + "/some"} {
			p.flows = append(p.flows, flow{publisher: id, topic: topic, qos: qos})
		}
	}
	p.client = newClient(w.verdict, id, v, durable, p)
	w.publishers = append(w.publishers, p)
}

func (w *world) addSubscriber(id string, v packet.Version, filter string, qos packet.QoS) *subscriber {
	s := &subscriber{ledger: w.ledger, filter: filter, rng: w.fork()}
	s.client = newClient(w.verdict, id, v, true, s)
	matches := under("load")
	if strings.HasSuffix(filter, "/all") {
		matches = func(topic string) bool { return under("load")(topic) && strings.HasSuffix(topic, "/all") }
	}
	shared := strings.HasPrefix(filter, "$share/")
	for _, other := range w.subscribers {
		if shared && other.filter == filter {
			s.receiver = other.receiver
		}
	}
	if s.receiver == nil {
		s.receiver = w.ledger.addReceiver(id, qos, shared, matches)
	}
	w.subscribers = append(w.subscribers, s)
	return s
}

func (s *subscriber) setReceiveMaximum(n uint16) {
	s.connect.Properties.ReceiveMaximum = n
	s.connect.Properties.Set(packet.PropReceiveMaximum)
}

func (w *world) addRetainer() {
	p := publisher{ledger: w.ledger, rng: w.fork()}
	for i := range 16 {
		p.flows = append(p.flows, flow{publisher: "retainer", topic: fmt.Sprint("retained/", i), qos: packet.QoS(1 + i%2)})
	}
	w.retainer = newRetainer(p)
	w.retainer.client = newClient(w.verdict, "retainer", packet.V5, true, w.retainer)
}

// clients are all that may have a connection.
func (w *world) clients() []*client {
	all := []*client{w.retainer.client, w.switcher.client, w.returner}
	for _, p := range w.publishers {
		all = append(all, p.client)
	}
	for _, s := range w.subscribers {
		all = append(all, s.client)
	}
	for _, b := range w.wills {
		all = append(all, b.client)
	}
	return all
}

// subscribeAll makes the subscriptions, once and for all.
func (w *world) subscribeAll() error {
	for _, s := range w.subscribers {
		if err := s.dial(w.broker.addr); err != nil {
			return err
		}
		if code, ok := s.subscribe(s.filter, s.receiver.qos); !ok || code != packet.ReasonCode(s.receiver.qos) {
			return fmt.Errorf("%s: SUBACK %v, %v", s.name(), ok, code)
		}
		s.hangUp()
	}
	if err := w.switcher.dial(w.broker.addr); err != nil {
		return err
	}
	if _, ok := w.switcher.subscribe("switch/end", 1); !ok {
		return fmt.Errorf("switcher: no SUBACK")
	}
	w.switcher.hangUp()
	return nil
}

// dialAll connects all who are not connected, but those who rest, at once.
func (w *world) dialAll() error {
	errs := make(chan error, 100)
	var running sync.WaitGroup
	dial := func(c *client) {
		if c.connected() {
			return
		}
		running.Go(func() {
			if err := c.dial(w.broker.addr); err != nil {
				errs <- fmt.Errorf("%s: %w", c.name(), err)
			}
		})
	}
	for _, p := range w.publishers {
		dial(p.client)
	}
	for _, s := range w.subscribers {
		if s.away == 0 {
			dial(s.client)
		}
	}
	dial(w.retainer.client)
	dial(w.switcher.client)
	dial(w.returner)
	running.Wait()
	close(errs)
	return <-errs // nil if there are none
}

// loadAndKill lets the clients loose for a while, in the midst of which the
// broker is killed.
func (w *world) loadAndKill(round int, uptime time.Duration) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	addr := w.broker.addr
	for _, p := range w.publishers {
		running.Go(func() { p.load(addr, round, stop) })
	}
	for _, s := range w.subscribers {
		if s.away == 0 {
			running.Go(func() { s.load(addr, stop) })
		}
	}
	running.Go(func() { w.retainer.load(round, stop) })
	running.Go(func() { w.switcher.load(stop) })

	timer := time.NewTimer(uptime)
	select {
	case <-timer.C:
	case <-w.verdict.violated:
		timer.Stop()
	}
	if w.interval > 0 {
		close(stop)
		running.Wait()
		w.rest()
	}
	w.verdict.setKilling(true)
	w.broker.kill()
	if w.interval == 0 {
		close(stop)
	}
	running.Wait()
	for _, c := range w.clients() {
		c.hangUp()
	}
}

// rest lets all exchanges end, and the broker put them on disk: that takes as long as
// the machine takes.
func (w *world) rest() {
	if err := w.dialAll(); err != nil { // those that flap may have just gone
		w.verdict.violation(unexpected, "%v", err)
		return
	}
	for _, p := range w.publishers {
		p.landed()
	}
	w.retainer.landed()
	for _, s := range w.subscribers {
		if s.away == 0 {
			s.drained()
		}
	}
	for _, c := range w.clients() {
		c.unsubscribe("nothing") // the answer comes behind all that went before
	}
	if err := w.synced(); err != nil {
		w.verdict.violation(unexpected, "%v", err)
	}
}

// synced waits until a sync has begun and ended since it was called: until the broker
// has counted two more. It writes something for each.
func (w *world) synced() error {
	watch := &syncs{news: make(chan int, 1)}
	c := newClient(w.verdict, "watch", packet.V5, false, watch)
	if err := c.dial(w.broker.addr); err != nil {
		return err
	}
	defer c.hangUp()
	if _, ok := c.subscribe("$SYS/broker/store/syncs", 0); !ok {
		return errors.New("watch: no SUBACK")
	}
	guard := time.NewTimer(patience)
	defer guard.Stop()
	for first := -1; ; {
		w.switcher.subscribe("switch/end", 1) // again, which is written
		select {
		case n := <-watch.news:
			if first < 0 {
				first = n
			}
			if n >= first+2 {
				return nil
			}
		case <-w.verdict.violated:
			return nil
		case <-guard.C:
			return errors.New("watch: no two syncs")
		case <-time.After(w.interval):
		}
	}
}

// syncs is the handler of a client that is told how many syncs there were.
type syncs struct {
	silent
	news chan int // the latest
}

// received implements handler.
func (s *syncs) received(m *packet.Publish) {
	n, err := strconv.Atoi(string(m.Payload))
	if err != nil || m.Retain { // that is from before
		return
	}
	select {
	case <-s.news:
	default:
	}
	s.news <- n
}

// dialWills connects the clients with wills of a round.
func (w *world) dialWills(round int) error {
	delayed := packet.QoS(2)
	if w.interval > 0 {
		delayed = 1 // what is not safe yet may come twice
	}
	w.wills = wills(w.verdict, round, delayed)
	for _, b := range w.wills {
		w.ledger.send(b.flow, w.ledger.next(b.flow))
		if err := b.dial(w.broker.addr); err != nil {
			return err
		}
	}
	return nil
}

// oweWills enters the wills of the round before; those of this round have time
// until the next, for their delay.
func (w *world) oweWills() {
	for _, b := range w.owed {
		w.ledger.acknowledge(b.flow, 1)
	}
	w.owed, w.wills = w.wills, nil
}

// settle lets all exchanges end and everything arrive that is owed to those who
// are not away, and compares.
func (w *world) settle(round int) error {
	if err := w.retainer.audit(w.broker.addr); err != nil || w.verdict.failed() {
		return err
	}
	w.oweWills()
	if err := w.dialAll(); err != nil {
		return err
	}
	if err := w.switcher.audit(w.broker.addr, round); err != nil {
		return err
	}
	if w.verdict.failed() {
		return nil
	}
	for _, p := range w.publishers {
		if !p.landed() {
			w.verdict.violation(protocol, "%s: publishes are not answered", p.name())
		}
	}
	if !w.retainer.landed() {
		w.verdict.violation(protocol, "retainer: publishes are not answered")
	}
	for _, s := range w.subscribers {
		if s.away == 0 {
			s.drained()
		}
	}
	return nil
}

// chooseWhoRests sends some subscribers away for one to three rounds, and has
// others return.
func (w *world) chooseWhoRests() {
	for _, s := range w.subscribers {
		if s.away > 0 {
			s.away--
		} else if s.rests && w.rng.IntN(2) == 0 {
			s.away = 1 + w.rng.IntN(3)
		}
	}
}
