package clients

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"midge/internal/cli/command"
	"midge/internal/client"
	"midge/internal/packet"
	"midge/internal/pubsub"
	"midge/internal/topic"
)

// subFlags are the flags of sub besides those of connecting.
type subFlags struct {
	*connectFlags
	topics, leave, unsubscribe               []string
	qos                                      uint8
	count                                    int
	wait                                     uint32
	format                                   string
	verbose, json, pretty, noNewline         bool
	noRetained, retainedOnly, removeRetained bool
	chance                                   float64
	retainAsPublished, noLocal               bool
	retainHandling                           uint8
	id                                       uint32
	endOnSubscribed, noReconnect             bool
	debug, quiet                             bool
}

func subCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sub {-t FILTER... | -L URL | -U FILTER...} [flags]",
		Short: "Subscribe and print messages",
		Long: `Subscribes to topic filters and prints the messages until it is interrupted. The flags are those of mosquitto_sub.

A format (-F) is text with sequences that stand for parts of the message:
  %t topic     %p payload         %l its length    %x %X its bytes in hexadecimal
  %q QoS       %r retain          %m packet identifier
  %C content type   %R response topic   %D correlation data   %P user properties   %E expiry interval
  %F payload format indicator   %S subscription identifier   %A topic alias
  %j all of it as JSON          %J the same with a payload that is JSON itself
  %I time, ISO 8601             %U Unix time     @Y @m @d @H @M @S ... as of strftime     @N nanoseconds
  \n \t \r \0 \a \e \v \\ %% @@
A width may follow the %, as in %-20t or %05l, and for %t, %C, %R, %I a maximum, as in %.10t.

When the connection is lost, sub connects and subscribes again, after 1, 2, 4 ... 30 seconds, unless the broker said
that it is of no use. The first connection is tried once.

The exit status is 0 after -C messages or an interrupt, 27 when the time of -W is over, and 1 if something failed.`,
		Example: `  midge sub -t 'home/#' -v
  midge sub -h broker.example -p 8883 --cafile ca.pem -t 'home/+/temperature' -q 1
  midge sub -t 'home/#' --json | jq -r .topic
  midge sub -t home/lamp -C 1 -W 5
  midge sub -t 'log/#' -F '@H:@M:@S %-20t %p'
  midge sub -i recorder -c -q 1 -t 'home/#' -E
  midge sub -t '#' --remove-retained --retained-only`,
		Args: command.MaxArgs(0),
	}
	f := cmd.Flags()
	s := &subFlags{connectFlags: addConnectFlags(f)}
	f.StringArrayVarP(&s.topics, "topic", "t", nil, "subscribe to this topic `filter`; repeatable")
	f.StringArrayVarP(&s.leave, "filter-out", "T", nil, "leave out messages whose topics match this `filter`; repeatable")
	f.StringArrayVarP(&s.unsubscribe, "unsubscribe", "U", nil, "unsubscribe from this topic `filter`; repeatable")
	f.Uint8VarP(&s.qos, "qos", "q", 0, "quality of service `level` of the subscriptions: 0, 1 or 2")
	f.IntVarP(&s.count, "count", "C", 0, "end after this `number` of messages")
	f.Uint32VarP(&s.wait, "timeout", "W", 0, "end after this many `seconds`, with status 27")
	f.StringVarP(&s.format, "format", "F", "", "print messages in this `format`, see above")
	f.BoolVarP(&s.verbose, "verbose", "v", false, "print topic and payload")
	f.BoolVar(&s.json, "json", false, "print each message as a line of JSON, as -F %j does")
	f.BoolVar(&s.pretty, "pretty", false, "print JSON over several lines")
	f.BoolVarP(&s.noNewline, "no-newline", "N", false, "print no end of line after each message")
	f.BoolVarP(&s.noRetained, "no-retained", "R", false, "leave out messages that were retained")
	f.BoolVar(&s.retainedOnly, "retained-only", false, "print only messages that were retained, and end with the first that was not")
	f.BoolVar(&s.removeRetained, "remove-retained", false, "remove the retained messages that arrive from the broker")
	f.Float64Var(&s.chance, "random-filter", 100, "print this `percentage` of the messages, chosen by chance")
	f.BoolVar(&s.retainAsPublished, "retain-as-published", false, "messages keep the retain flag of their publisher; 5.0")
	f.BoolVar(&s.noLocal, "no-local", false, "do not send messages that this client publishes; 5.0")
	f.Uint8Var(&s.retainHandling, "retain-handling", 0, "send retained messages: 0 always, 1 if the subscription is new, 2 never; 5.0")
	f.Uint32Var(&s.id, "subscription-id", 0, "subscription `identifier`, which %S prints; 5.0")
	f.BoolVarP(&s.endOnSubscribed, "exit-after-subscribe", "E", false, "end when the broker has answered the subscriptions")
	f.BoolVar(&s.noReconnect, "no-reconnect", false, "end with status 1 when the connection is lost")
	f.BoolVarP(&s.debug, "debug", "d", false, "print each step to standard error")
	f.BoolVar(&s.quiet, "quiet", false, "print no errors and no warnings")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		job, err := s.subscription(w)
		if err != nil {
			return err
		}
		return command.Work(func(cmd *cobra.Command, _ []string) error {
			err := pubsub.Subscribe(cmd.Context(), job)
			if errors.Is(err, pubsub.ErrTimedOut) {
				job.Talk.Warn("timed out")
				return command.ErrTimedOut
			}
			return silent(s.quiet, err)
		})(cmd, nil)
	}
	return cmd
}

// subscription is what the flags ask for. Its errors are misuse.
func (s *subFlags) subscription(w command.World) (*pubsub.Subscription, error) {
	job := &pubsub.Subscription{
		Timeout: s.timeout, Unsubscribe: s.unsubscribe, Leave: s.leave, NoRetained: s.noRetained, RetainedOnly: s.retainedOnly,
		RemoveRetained: s.removeRetained, Chance: s.chance, Count: s.count, Wait: time.Duration(s.wait) * time.Second,
		EndOnSubscribed: s.endOnSubscribed, NoReconnect: s.noReconnect, NoNewline: s.noNewline, Out: w.Stdout, Talk: talk(w, s.quiet, s.debug),
	}
	var named string
	var err error
	job.Connect, named, err = s.options(map[string]stage{
		"subscribe":   {user: &job.SubscribeUser, subscription: &s.id},
		"unsubscribe": {user: &job.UnsubscribeUser},
		"disconnect":  {disconnect: &job.Disconnect, user: &job.Disconnect.UserProperties},
	})
	if err != nil {
		return nil, err
	}
	topics := s.topics
	if named != "" {
		topics = append([]string{named}, topics...)
	}
	for _, t := range topics {
		job.Filters = append(job.Filters, client.Subscription{
			Filter: t, QoS: packet.QoS(s.qos), NoLocal: s.noLocal, RetainAsPublished: s.retainAsPublished, RetainHandling: s.retainHandling, ID: s.id,
		})
	}
	if job.Format, err = s.parseFormat(); err != nil {
		return nil, err
	}
	return job, s.check(job)
}

func (s *subFlags) parseFormat() (*pubsub.Format, error) {
	given, err := command.OneOf(s.flags, "format", "verbose", "json")
	if err != nil {
		return nil, err
	}
	text := pubsub.PayloadOnly
	switch given {
	case "format":
		text = s.format
	case "verbose":
		text = pubsub.Verbose
	case "json":
		text = pubsub.JSON
	}
	format, err := pubsub.ParseFormat(text)
	if err != nil {
		return nil, fmt.Errorf("-F: %w", err)
	}
	format.Pretty = s.pretty
	return format, nil
}

// check finds what the broker would refuse, or what can't be meant.
func (s *subFlags) check(job *pubsub.Subscription) error {
	for name, on := range map[string]bool{"--retain-as-published": s.retainAsPublished, "--no-local": s.noLocal, "--retain-handling": s.retainHandling != 0, "--subscription-id": s.id != 0} {
		if on && job.Connect.Version != packet.V5 {
			return fmt.Errorf("%s needs MQTT 5.0, and -V asks for another", name)
		}
	}
	if _, err := command.OneOf(s.flags, "no-retained", "retained-only"); err != nil {
		return err
	}
	switch {
	case len(job.Filters) == 0 && len(job.Unsubscribe) == 0:
		return errors.New("name a topic filter with -t")
	case s.qos > 2:
		return fmt.Errorf("-q %d: it is 0, 1 or 2", s.qos)
	case s.retainHandling > 2:
		return fmt.Errorf("--retain-handling %d: it is 0, 1 or 2", s.retainHandling)
	case s.id > packet.MaxSize-5:
		return fmt.Errorf("--subscription-id %d: it is at most %d", s.id, packet.MaxSize-5)
	case s.flags.Changed("timeout") && s.wait == 0:
		return errors.New("-W 0: it is 1 or more")
	case s.flags.Changed("count") && s.count < 1:
		return fmt.Errorf("-C %d: it is 1 or more", s.count)
	case s.chance <= 0 || s.chance > 100:
		return fmt.Errorf("--random-filter %g: it is a percentage", s.chance)
	}
	for _, f := range job.Filters {
		if err := validFilter(f.Filter); err != nil {
			return fmt.Errorf("-t %s: %w", f.Filter, err)
		}
	}
	for flag, filters := range map[string][]string{"-T": s.leave, "-U": s.unsubscribe} {
		for _, f := range filters {
			if err := validFilter(f); err != nil {
				return fmt.Errorf("%s %s: %w", flag, f, err)
			}
		}
	}
	return nil
}

func validFilter(filter string) error {
	if err := topic.ValidFilter(filter, topic.Limits{}); err != nil {
		return err
	}
	_, _, _, err := topic.ParseShared(filter)
	return err
}
