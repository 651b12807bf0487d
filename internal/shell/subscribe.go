package shell

import (
	"context"
	"errors"
	"fmt"

	"midge/internal/client"
	"midge/internal/packet"
	"midge/internal/topic"
)

func subCommand() command {
	return command{
		name: "sub", args: "TOPIC...", min: 1, max: -1,
		short: "Subscribe to topics",
		long: `A topic can have wildcards: + stands for one level, # for all that follow. $share/GROUP/TOPIC shares the messages with
the other members of the group.`,
		options: []option{
			qosOption("highest quality of service wanted"),
			{
				name: "no-local", help: "nothing that this client publishes itself (5.0)",
				set: func(r *request, v string) error { return toSwitch(&r.subscription.NoLocal, v) },
			},
			{
				name: "retain-as-published", help: "keep the retain flag of messages as their publisher set it (5.0)",
				set: func(r *request, v string) error { return toSwitch(&r.subscription.RetainAsPublished, v) },
			},
			{
				name: "retain-handling", value: "WHEN", help: "send retained messages always, only if the subscription is new, or never (5.0)",
				choices: oneOf("always", "new", "never"),
				set: func(r *request, v string) error {
					handling, known := map[string]packet.RetainHandling{
						"always": packet.SendRetained, "new": packet.SendRetainedIfNew, "never": packet.SendNoRetained,
					}[v]
					r.subscription.RetainHandling = byte(handling)
					if !known {
						return errors.New("it can be always, new or never")
					}
					return nil
				},
			},
			{
				name: "id", value: "N", help: "subscription identifier, which messages then carry (5.0)",
				set: func(r *request, v string) error { return toNumber(&r.subscription.ID, v, 1, 268_435_455) },
			},
			userOption("subscription"), clientOption(), answerTimeout(),
		},
		examples: []string{"sub sensors/#", "sub sensors/+/state --qos 1", "sub '$share/workers/jobs/#' --qos 1", "sub a b c --id 7"},
		complete: func(s *Shell, _ []string, _ string) []string { return s.topics.all() },
		run:      subscribe,
	}
}

func subscribe(ctx context.Context, s *Shell, in *input) error {
	r := s.request()
	if err := in.fill(r, s.defaults); err != nil {
		return err
	}
	one, err := s.clients.find(r.client)
	if err != nil {
		return err
	}
	var subs []client.Subscription
	for _, w := range in.words {
		if err := checkFilter(w.text); err != nil {
			return fmt.Errorf("sub: %w", err)
		}
		sub := r.subscription
		sub.Filter = w.text
		subs = append(subs, sub)
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	answers, err := one.conn.Subscribe(ctx, subs, r.user...)
	if err != nil {
		return s.explain(ctx, err, r.timeout)
	}
	var errs []error
	for i, answer := range answers[:min(len(answers), len(subs))] {
		if answer.Failed() {
			errs = append(errs, fmt.Errorf("subscribe to %s: the broker refused: %v", printable(subs[i].Filter), answer))
			continue
		}
		s.topics.add(subs[i].Filter)
		subs[i].QoS = packet.QoS(answer)
		one.forget(subs[i].Filter)
		one.subscriptions = append(one.subscriptions, subs[i])
		s.printf("%s: subscribed to %s, QoS %d%s\n", printable(one.name), printable(subs[i].Filter), answer, less(r.subscription.QoS, subs[i].QoS))
	}
	return errors.Join(errs...)
}

// less says that the broker granted less than was asked for.
func less(asked, granted packet.QoS) string {
	if granted >= asked {
		return ""
	}
	return fmt.Sprintf(" (asked for %d)", asked)
}

func checkFilter(filter string) error {
	inner := filter
	if _, in, shared, err := topic.ParseShared(filter); err != nil {
		return fmt.Errorf("%s: %w", quote(filter), err)
	} else if shared {
		inner = in
	}
	if err := topic.ValidFilter(inner, topic.Limits{}); err != nil {
		return fmt.Errorf("%s: %w", quote(filter), err)
	}
	return nil
}

func unsubCommand() command {
	return command{
		name: "unsub", args: "TOPIC...", min: 1, max: -1,
		short:    "End subscriptions",
		long:     "Each topic is written as it was subscribed to.",
		options:  []option{userOption("request"), clientOption(), answerTimeout()},
		examples: []string{"unsub sensors/#", "unsub a b --client alice"},
		complete: func(s *Shell, _ []string, _ string) (all []string) {
			for _, one := range s.clients.all {
				for _, sub := range one.subscriptions {
					all = append(all, sub.Filter)
				}
			}
			return all
		},
		run: unsubscribe,
	}
}

func unsubscribe(ctx context.Context, s *Shell, in *input) error {
	r := s.request()
	if err := in.fill(r, s.defaults); err != nil {
		return err
	}
	one, err := s.clients.find(r.client)
	if err != nil {
		return err
	}
	var filters []string
	for _, w := range in.words {
		if err := checkFilter(w.text); err != nil {
			return fmt.Errorf("unsub: %w", err)
		}
		filters = append(filters, w.text)
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	answers, err := one.conn.Unsubscribe(ctx, filters, r.user...)
	if err != nil {
		return s.explain(ctx, err, r.timeout)
	}
	var errs []error
	for i, answer := range answers[:min(len(answers), len(filters))] {
		if answer.Failed() {
			errs = append(errs, fmt.Errorf("unsubscribe from %s: the broker refused: %v", printable(filters[i]), answer))
			continue
		}
		one.forget(filters[i])
		note := ""
		if answer == packet.NoSubscriptionExisted {
			note = ": there was no subscription"
		}
		s.printf("%s: unsubscribed from %s%s\n", printable(one.name), printable(filters[i]), note)
	}
	return errors.Join(errs...)
}
