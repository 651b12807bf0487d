package hook

import (
	"net/netip"
	"sync"
	"time"

	"midge/internal/auth"
	"midge/internal/packet"
)

// Access asks a Service what one client may do. It implements routing.Asking. What
// was allowed to subscribe is received, without a question.
type Access struct {
	service *Service
	who     question // without what is asked
	from    netip.Addr

	mu      sync.Mutex
	answers map[digest]reply // to what was asked last
	recent  [recentTopics]recent
	oldest  int     // of recent
	found   *recent // ReadyToPublish has it, for Publish
}

// reply is an answer for the packet that waits for it. It counts for that alone, which may have
// the same question twice.
type reply struct{ may, used bool }

// recent is an answer about a topic that the client has just published to: the next message
// asks neither the service nor the cache.
type recent struct {
	topic      string
	qos        packet.QoS
	retain     bool
	may        bool
	until      time.Time
	generation uint64
}

// recentTopics is how many topics most clients publish to in turn. Guess.
const recentTopics = 4

// For returns what a client may do.
func (s *Service) For(who *auth.Identity) *Access {
	a := &Access{service: s, from: who.Address}
	a.who = question{ClientID: who.ID, User: who.User, Listener: who.Listener, Groups: who.Groups}
	if who.Address.IsValid() {
		a.who.Address = who.Address.Unmap().String()
	}
	return a
}

func (a *Access) publishing(topic []byte, qos packet.QoS, retain bool) []byte {
	q, n := a.who, uint8(qos)
	q.Action, q.Topic, q.QoS, q.Retain = "publish", string(topic), &n, &retain
	return q.encode()
}

func (a *Access) subscribing(filter string) []byte {
	q := a.who
	q.Action, q.Topic = "subscribe", filter
	return q.encode()
}

// Publish implements routing.Permissions.
func (a *Access) Publish(topic []byte, qos packet.QoS, retain bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.found != nil {
		may := a.found.may
		a.found = nil
		return may
	}
	key := a.service.cache.of(a.publishing(topic, qos, retain))
	may := a.use(key)
	if r, until := a.service.cache.get(key, time.Now()); r != nil {
		a.recent[a.oldest] = recent{string(topic), qos, retain, r.decision == auth.Allow, until, a.service.generation.Load()}
		a.oldest = (a.oldest + 1) % recentTopics
	}
	return may
}

// find finds a recent answer, nil if there is none.
func (a *Access) find(topic []byte, qos packet.QoS, retain bool) *recent {
	for i := range a.recent {
		r := &a.recent[i]
		if r.topic == string(topic) && r.qos == qos && r.retain == retain && r.generation == a.service.generation.Load() && time.Now().Before(r.until) {
			return r
		}
	}
	return nil
}

// Subscribe implements routing.Permissions.
func (a *Access) Subscribe(filter string) bool {
	key := a.service.cache.of(a.subscribing(filter))
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.use(key)
}

// use takes the answer to a question. Without one it is no.
func (a *Access) use(key digest) bool {
	if r, known := a.answers[key]; known {
		a.answers[key] = reply{r.may, true}
		return r.may
	}
	r, _ := a.service.recall(key)
	return r != nil && r.decision == auth.Allow
}

// Receive implements routing.Permissions.
func (a *Access) Receive([]byte) bool { return true }

// ReadyToPublish implements routing.Asking.
func (a *Access) ReadyToPublish(topic []byte, qos packet.QoS, retain bool, then func()) bool {
	a.mu.Lock()
	a.found = a.find(topic, qos, retain)
	found := a.found != nil
	a.mu.Unlock()
	return found || a.ready([][]byte{a.publishing(topic, qos, retain)}, then)
}

// ReadyToSubscribe implements routing.Asking.
func (a *Access) ReadyToSubscribe(filters []string, then func()) bool {
	var questions [][]byte
	for _, f := range filters {
		questions = append(questions, a.subscribing(f))
	}
	return a.ready(questions, then)
}

// ready reports whether all questions have their answers, and asks those that have none.
func (a *Access) ready(questions [][]byte, then func()) bool {
	var open [][]byte
	answers := map[digest]reply{}
	a.mu.Lock()
	for _, q := range questions {
		key := a.service.cache.of(q)
		if r, known := a.answers[key]; known && !r.used {
			answers[key] = r
		} else if r, _ := a.service.recall(key); r != nil {
			answers[key] = reply{may: r.decision == auth.Allow} // by the time that others are there it may be forgotten
		} else {
			open = append(open, q)
		}
	}
	a.answers = answers
	a.mu.Unlock()
	return !a.ask(open, then)
}

// ask asks the first of some questions, and when it is answered the others: of a client there is
// one at a time. It reports whether then is called when all are. What can't be asked
// is denied.
func (a *Access) ask(open [][]byte, then func()) (asked bool) {
	for i, q := range open {
		key := a.service.cache.of(q)
		err := a.service.ask(a.from, nil, q, parseAccess, func(r *answer, err error) {
			if err == nil {
				a.service.remember(key, r)
			}
			a.note(key, err == nil && r.decision == auth.Allow)
			if !a.ask(open[i+1:], then) {
				then()
			}
		})
		if err == nil {
			return true
		}
		a.note(key, false)
	}
	return false
}

func (a *Access) note(key digest, may bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[key] = reply{may: may}
}
