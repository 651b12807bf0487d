package pubsub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"midge/internal/client"
	"midge/internal/packet"
	"midge/internal/topic"
)

// ErrTimedOut is what Subscribe returns when the time of Wait is over.
var ErrTimedOut = errors.New("timed out")

// Subscription is what midge sub is asked to do.
type Subscription struct {
	Connect     client.Options
	Timeout     time.Duration // of connecting
	Filters     []client.Subscription
	Unsubscribe []string
	Disconnect  client.Disconnection

	SubscribeUser, UnsubscribeUser []client.UserProperty

	Leave           []string // topic filters of messages that are left out
	NoRetained      bool     // leave out retained messages
	RetainedOnly    bool     // leave out all others, and end with the first
	RemoveRetained  bool     // remove retained messages from the broker
	Chance          float64  // percentage of the messages that are printed
	Count           int      // end after this many; 0 for never
	Wait            time.Duration
	EndOnSubscribed bool
	NoReconnect     bool // end when the connection is lost

	Format    *Format
	NoNewline bool
	Out       io.Writer
	Talk      *Talk
}

// subscriber is a subscription under way.
type subscriber struct {
	*Subscription
	line    []byte // being printed; owned by received
	printed int    // owned by received

	ended   chan struct{} // closed when no more messages are wanted
	endOnce sync.Once
	err     error // why; set before ended is closed

	mu      sync.Mutex
	removes []string        // topics of retained messages to remove
	remove  chan struct{}   // has a token when there are some
	removed map[string]bool // topics of empty messages that come back to us
}

// Subscribe prints messages until Count, Wait, a failure or the end of the
// context, which is no failure.
func Subscribe(ctx context.Context, o *Subscription) error {
	s := &subscriber{Subscription: o, ended: make(chan struct{}), remove: make(chan struct{}, 1)}
	s.Connect.Received = s.received
	s.Connect.Enough = s.enough
	s.Connect.Session = client.NewSession()
	c, err := connect(ctx, s.Connect, s.Timeout)
	if err != nil {
		return err
	}
	var late <-chan time.Time
	if s.Wait > 0 {
		late = time.After(s.Wait)
	}
	again := false
	for {
		s.Talk.connected(s.Connect, c.Connected())
		lost, err := s.serve(ctx, c, late, again)
		if lost == nil {
			s.Talk.debugf("sending DISCONNECT")
			if leave := c.Disconnect(s.Disconnect); err == nil && leave != nil && !s.enough() {
				err = fmt.Errorf("disconnect: %w", leave)
			}
			return err
		}
		if s.NoReconnect || isFinal(lost) {
			return fmt.Errorf("connection to %s lost: %w", s.Connect.Address, lost)
		}
		if c, err = s.reconnect(ctx, late, lost); c == nil {
			return err
		}
		again = true
	}
}

// serve works with one connection. It returns lost if the connection ended, and
// otherwise with what Subscribe returns.
func (s *subscriber) serve(ctx context.Context, c *client.Client, late <-chan time.Time, again bool) (lost, err error) {
	if !again || !c.Connected().SessionPresent {
		err := s.subscribe(ctx, c)
		if c.Err() != nil {
			return c.Err(), nil
		}
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		if err == nil && s.EndOnSubscribed {
			return nil, nil
		}
	}
	for {
		select {
		case <-s.remove:
			if err := s.removeRetained(ctx, c); err != nil && c.Err() == nil {
				return nil, err
			}
		case <-s.ended:
			if err := s.removeRetained(ctx, c); s.err == nil {
				return nil, err
			}
			return nil, s.err
		case <-c.Done():
			return c.Err(), nil
		case <-late:
			s.end(nil)
			return nil, ErrTimedOut
		case <-ctx.Done():
			s.end(nil)
			return nil, nil
		}
	}
}

func (s *subscriber) subscribe(ctx context.Context, c *client.Client) error {
	denied := 0
	if len(s.Filters) > 0 {
		codes, err := c.Subscribe(ctx, s.Filters, s.SubscribeUser...)
		if err != nil {
			return err
		}
		for i, code := range codes {
			switch {
			case code.Failed():
				denied++
				s.Talk.Warn("subscribe to %s: %s", s.Filters[i].Filter, granted(code))
			case code != packet.ReasonCode(s.Filters[i].QoS):
				s.Talk.Warn("subscribe to %s: the broker granted %s only", s.Filters[i].Filter, granted(code))
			}
			s.Talk.debugf("subscribed to %s: %s", s.Filters[i].Filter, granted(code))
		}
	}
	if denied > 0 && denied == len(s.Filters) {
		return errors.New("the broker denied all subscriptions")
	}
	if len(s.Unsubscribe) == 0 {
		return nil
	}
	codes, err := c.Unsubscribe(ctx, s.Unsubscribe, s.UnsubscribeUser...)
	for i, code := range codes {
		s.Talk.debugf("unsubscribed from %s: %v", s.Unsubscribe[i], code)
		if code.Failed() {
			s.Talk.Warn("unsubscribe from %s: %s", s.Unsubscribe[i], granted(code))
		}
	}
	return err
}

// received takes each message.
func (s *subscriber) received(m client.Message) {
	s.Talk.debugf("received PUBLISH to %s (QoS %d, retain %d, %d bytes%s)", m.Topic, m.QoS, flag(m.Retain), len(m.Payload), properties(m))
	for _, filter := range s.Leave {
		if topic.Match(filter, m.Topic) {
			return
		}
	}
	if !m.Retain && len(m.Payload) == 0 && s.removing(m.Topic) {
		return // our own, which removed a retained message
	}
	if s.RetainedOnly && !m.Retain {
		s.end(nil)
		return
	}
	if s.RemoveRetained && m.Retain && len(m.Payload) > 0 {
		s.queueRemoval(m.Topic)
	}
	if s.NoRetained && m.Retain || s.Chance < 100 && rand.Float64()*100 >= s.Chance {
		return
	}
	if !s.print(m) {
		return
	}
	if s.printed++; s.printed == s.Count {
		s.end(nil)
	}
}

// print writes a message at once, so that it is acknowledged after it was
// written. One that the format can't write counts as well: else -C would wait
// for a message that has come.
func (s *subscriber) print(m client.Message) (ok bool) {
	line, err := s.Format.Append(s.line[:0], m, time.Now())
	if err != nil {
		s.Talk.Warn("%v", err)
		return true
	}
	if !s.NoNewline {
		line = append(line, '\n')
	}
	s.line = line
	if _, err := s.Out.Write(line); err != nil {
		if errors.Is(err, syscall.EPIPE) {
			err = nil // whoever read has enough
		} else {
			err = fmt.Errorf("write output: %w", err)
		}
		s.end(err)
		return false
	}
	return true
}

// end makes Subscribe return.
func (s *subscriber) end(err error) {
	s.endOnce.Do(func() {
		s.err = err
		close(s.ended)
	})
}

// enough tells the client to leave all further messages to the broker.
func (s *subscriber) enough() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// removing reports whether a message that removes what is retained of a topic is on
// its way, and forgets it.
func (s *subscriber) removing(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := s.removed[topic]
	delete(s.removed, topic)
	return is
}

func (s *subscriber) queueRemoval(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removes = append(s.removes, topic)
	if s.removed == nil {
		s.removed = map[string]bool{}
	}
	s.removed[topic] = true
	select {
	case s.remove <- struct{}{}:
	default:
	}
}

// removeRetained publishes the empty messages that remove what is retained.
func (s *subscriber) removeRetained(ctx context.Context, c *client.Client) error {
	for {
		s.mu.Lock()
		topics := s.removes
		s.removes = nil
		s.mu.Unlock()
		if len(topics) == 0 {
			return nil
		}
		for _, topic := range topics {
			s.Talk.debugf("removing the retained message of %s", topic)
			qos := min(1, c.Connected().MaximumQoS)
			if _, err := c.Publish(ctx, client.Message{Topic: topic, QoS: qos, Retain: true}); err != nil {
				return err
			}
		}
	}
}

// reconnect connects until it succeeds, is refused for good, or should end, in
// which case the client is nil.
func (s *subscriber) reconnect(ctx context.Context, late <-chan time.Time, lost error) (*client.Client, error) {
	const first, longest = time.Second, 30 * time.Second
	s.Talk.Warn("connection to %s lost: %v; connecting again", s.Connect.Address, lost)
	for pause := first; ; pause = min(2*pause, longest) {
		select {
		case <-time.After(pause):
		case <-late:
			return nil, ErrTimedOut
		case <-s.ended:
			return nil, s.err
		case <-ctx.Done():
			return nil, nil
		}
		c, err := connect(ctx, s.Connect, s.Timeout)
		switch {
		case err == nil:
			s.Talk.Warn("connected again")
			return c, nil
		case isFinal(err):
			return nil, err
		}
		s.Talk.debugf("%v", err)
	}
}

// isFinal reports whether err is a broker's answer that another attempt would
// get as well.
func isFinal(err error) bool {
	var refused *client.Refused
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Reason {
	case packet.NormalDisconnection, packet.UnspecifiedError, packet.ImplementationSpecificError, packet.ServerUnavailable, packet.ServerBusy, packet.ServerShuttingDown,
		packet.KeepAliveTimeout, packet.QuotaExceeded, packet.AdministrativeAction, packet.ConnectionRateExceeded, packet.MaximumConnectTime, packet.MessageRateTooHigh:
		return false
	}
	return true
}
