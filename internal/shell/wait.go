package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"midge/internal/client"
	"midge/internal/topic"
)

func waitCommand() command {
	return command{
		name: "wait", args: "[N]", max: 1,
		short: "Wait until N messages have come (default 1), and take them",
		long: `Messages that came before and that no wait or expect took count too. In a script they are printed when they are
taken. It fails if there are fewer when the time is over.`,
		options:  []option{clientOption(), timeoutOption("wait at most this long")},
		examples: []string{"wait", "wait 3 --timeout 1m", "wait 2 --client bob"},
		run:      wait,
	}
}

func wait(ctx context.Context, s *Shell, in *input) error {
	count := 1
	if len(in.words) > 0 {
		if err := toNumber(&count, in.text(0), 1, math.MaxInt32); err != nil {
			return usagef("wait %s: %w", in.text(0), err)
		}
	}
	r := s.request()
	if err := in.fill(r, s.defaults); err != nil {
		return err
	}
	one, err := s.clients.find(r.client)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	for got := range count {
		m, err := one.inbox.take(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("wait: %d of %d messages came for %s within %v", got, count, one.name, r.timeout)
		}
		if err != nil {
			return fmt.Errorf("wait: %d of %d messages came for %s: %w", got, count, one.name, err)
		}
		s.taken(one, &m)
	}
	return nil
}

func expectCommand() command {
	return command{
		name: "expect", args: "TOPIC [PACKET]", max: 2,
		short: "Check the next message, for tests",
		long: `It takes the next message that no wait or expect has taken, waiting for it if need be, and fails unless it is as
described: its topic matches TOPIC, which may have wildcards, its payload is PACKET, and QoS, flags and properties are
those of the options. What isn't named isn't checked. --none is for the opposite: it fails if a message comes.`,
		options: append(messageOptions(),
			option{
				name: "dup", help: "the message is marked as sent again",
				set: func(r *request, v string) error { return toSwitch(&r.message.Dup, v) },
			},
			option{
				name: "id", value: "N", help: "it carries this subscription identifier (5.0)",
				set: func(r *request, v string) error {
					r.message.SubscriptionIDs = append(r.message.SubscriptionIDs, 0)
					return toNumber(&r.message.SubscriptionIDs[len(r.message.SubscriptionIDs)-1], v, 1, 268_435_455)
				},
			},
			option{
				name: "lost", help: "no message comes, and the connection ends other than by disconnect",
				set: func(r *request, v string) error { return toSwitch(&r.lost, v) },
			},
			option{
				name: "none", help: "no message comes until the time is over",
				set: func(r *request, v string) error { return toSwitch(&r.none, v) },
			},
			clientOption(), timeoutOption("wait at most this long")),
		noDefaults: true,
		examples: []string{
			"expect sensors/kitchen 21.5",
			"expect sensors/+ --qos 1 --retain=false --user-property unit=C",
			"expect --none --timeout 200ms --client bob",
		},
		complete: func(s *Shell, before []string, prefix string) []string {
			if len(before) == 0 {
				return s.topics.all()
			}
			return s.completePacket(prefix)
		},
		run: expect,
	}
}

func expect(ctx context.Context, s *Shell, in *input) error {
	r := s.request()
	if err := in.fill(r, nil); err != nil {
		return err
	}
	switch {
	case r.none && r.lost, (r.none || r.lost) && len(in.words) > 0:
		return usagef("expect: write one of TOPIC, --none and --lost")
	case !r.none && !r.lost && len(in.words) == 0:
		return usagef("expect: something is missing: %s", in.command.usage())
	}
	one, err := s.clients.find(r.client)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	if r.none || r.lost {
		return expectEnd(ctx, s, one, r)
	}
	want, err := s.description(in, r)
	if err != nil {
		return fmt.Errorf("expect: %w", err)
	}
	m, err := one.inbox.take(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("expect: no message came for %s within %v", one.name, r.timeout)
	}
	if err != nil {
		return fmt.Errorf("expect: no message came for %s: %w", one.name, err)
	}
	s.taken(one, &m)
	if faults := want.compare(&m); len(faults) > 0 {
		return fmt.Errorf("expect: the next message of %s is another: %s", one.name, strings.Join(faults, "; "))
	}
	return nil
}

// expectEnd expects that no message comes until the time is over, or until the
// connection is lost.
func expectEnd(ctx context.Context, s *Shell, one *connection, r *request) error {
	m, err := one.inbox.take(ctx)
	_, _, lost := one.inbox.figures()
	switch {
	case err == nil:
		s.taken(one, &m)
		return fmt.Errorf("expect: a message came for %s", one.name)
	case errors.Is(err, context.DeadlineExceeded) && r.none:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("expect: %s is still connected after %v", one.name, r.timeout)
	case lost != nil && r.lost:
		s.printf("%s: the connection is lost: %s\n", printable(one.name), printable(lost.Error()))
		return nil
	}
	return fmt.Errorf("expect: %w", err)
}

// description is what a message must be like.
type description struct {
	filter  string
	payload []byte
	any     bool // any payload
	message client.Message
	named   map[string]bool // the options that were given
}

func (s *Shell) description(in *input, r *request) (*description, error) {
	d := &description{filter: in.text(0), message: r.message, any: len(in.words) < 2, named: map[string]bool{}}
	if err := topic.ValidFilter(d.filter, topic.Limits{}); err != nil {
		return nil, fmt.Errorf("%s: %w", quote(d.filter), err)
	}
	for _, g := range in.given {
		d.named[g.option.name] = true
	}
	if !d.any {
		m, _, err := s.packet(in.words[1])
		if err != nil {
			return nil, err
		}
		d.payload = m.Payload
	}
	return d, nil
}

// compare lists where m differs from the description.
func (d *description) compare(m *client.Message) (faults []string) {
	differs := func(name, is, want string) {
		if is != want {
			faults = append(faults, fmt.Sprintf("%s is %s, not %s", name, is, want))
		}
	}
	if !topic.Match(d.filter, m.Topic) {
		faults = append(faults, fmt.Sprintf("its topic is %s", quote(m.Topic)))
	}
	if !d.any && !bytes.Equal(m.Payload, d.payload) {
		differs("its payload", excerpt(m.Payload), excerpt(d.payload))
		if len(faults) == 0 {
			faults = append(faults, "its payload differs further on")
		}
	}
	want := &d.message
	for _, check := range []struct{ option, name, is, want string }{
		{"qos", "its QoS", fmt.Sprint(m.QoS), fmt.Sprint(want.QoS)},
		{"retain", "its retain flag", fmt.Sprint(m.Retain), fmt.Sprint(want.Retain)},
		{"dup", "its dup flag", fmt.Sprint(m.Dup), fmt.Sprint(want.Dup)},
		{"expiry", "its expiry", optional(m.Expiry), optional(want.Expiry)},
		{"content-type", "its content type", quote(m.ContentType), quote(want.ContentType)},
		{"response-topic", "its response topic", quote(m.ResponseTopic), quote(want.ResponseTopic)},
		{"correlation", "its correlation data", quote(string(m.CorrelationData)), quote(string(want.CorrelationData))},
		{"utf8", "its payload format", format(m.PayloadFormat), format(want.PayloadFormat)},
		{"user-property", "the list of its user properties", properties(m.UserProperties), properties(want.UserProperties)},
		{"id", "the list of its subscription identifiers", fmt.Sprint(m.SubscriptionIDs), fmt.Sprint(want.SubscriptionIDs)},
	} {
		if d.named[check.option] {
			differs(check.name, check.is, check.want)
		}
	}
	return faults
}

// excerpt is the beginning of a payload.
func excerpt(payload []byte) string {
	const maxShown = 100
	if len(payload) <= maxShown {
		return quote(string(payload))
	}
	return fmt.Sprintf("%s ... (%d bytes)", quote(string(payload[:maxShown])), len(payload))
}

func optional(seconds *uint32) string {
	if seconds == nil {
		return "missing"
	}
	return fmt.Sprintf("%d s", *seconds)
}

func format(f *byte) string {
	if f != nil && *f == 1 {
		return "UTF-8"
	}
	return "bytes"
}

func properties(all []client.UserProperty) string {
	var words []string
	for _, p := range all {
		words = append(words, quote(p.Key+"="+p.Value))
	}
	return "[" + strings.Join(words, " ") + "]"
}
