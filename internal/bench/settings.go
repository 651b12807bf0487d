package bench

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Setting describes a field of a Scenario for flags, files and help.
type Setting struct {
	Key   string // in a TOML file; a flag has "-" for "_"
	Usage string // a word in backquotes names the value
	Bool  bool
	// Plan: the setting is for plans of package compare alone,
	// which starts the broker.
	Plan bool
}

// setting adds where the value goes.
type setting struct {
	Setting
	field func(*Scenario) any
}

// Settings lists all settings of a scenario.
func Settings() []Setting {
	var all []Setting
	for _, s := range settings() {
		all = append(all, s.Setting)
	}
	return all
}

func settings() []setting {
	number := func(key, usage string, field func(*Scenario) any) setting {
		return setting{Setting{Key: key, Usage: usage}, field}
	}
	yes := func(key, usage string, field func(*Scenario) any) setting {
		return setting{Setting{Key: key, Usage: usage, Bool: true}, field}
	}
	return []setting{
		number("name", "`name` of the scenario in results", func(s *Scenario) any { return &s.Name }),
		number("publishers", "`number` of publishing clients", func(s *Scenario) any { return &s.Publishers }),
		number("subscribers", "`number` of subscribing clients", func(s *Scenario) any { return &s.Subscribers }),
		number("topics", "`number` of topics (one for each publisher)", func(s *Scenario) any { return &s.Topics }),
		number("filter", "what subscribers subscribe to: topic (their share of the topics), plus (the same with +), all (every topic), wildcard (all with #), shared (all with # in one shared subscription); a `kind`", func(s *Scenario) any { return &s.Filter }),
		number("clients", "`number` of other clients, which are connected and do nothing", func(s *Scenario) any { return &s.Clients }),
		number("filters", "`number` of filters with wildcards that the other clients subscribe to in all, and that match nothing", func(s *Scenario) any { return &s.Filters }),
		number("qos", "QoS `level` of publications (0 unless a named scenario says otherwise)", func(s *Scenario) any { return &s.QoS }),
		number("subscriber_qos", "QoS `level` of subscriptions (that of publications)", func(s *Scenario) any { return &s.SubQoS }),
		number("size", "`bytes` of payload, 16 or more", func(s *Scenario) any { return &s.Size }),
		yes("retain", "publish retained messages", func(s *Scenario) any { return &s.Retain }),
		number("retained", "`number` of retained messages that are laid down before, and that readers ask for a second after measuring has begun, and a second after they got them", func(s *Scenario) any { return &s.Retained }),
		number("readers", "`number` of clients that ask for all retained messages, at the same time (1)", func(s *Scenario) any { return &s.Readers }),
		number("rate", "`messages` per second published in all: an open loop, whatever the broker does", func(s *Scenario) any { return &s.Rate }),
		number("window", "`messages` in flight for each flow: a closed loop, as fast as the broker goes (10 if there is no rate)", func(s *Scenario) any { return &s.Window }),
		number("inflight", "unacknowledged `messages` of a publisher, at most, at QoS 1 and 2", func(s *Scenario) any { return &s.Inflight }),
		number("messages", "`number` of messages of each flow; the run ends when all have arrived", func(s *Scenario) any { return &s.Messages }),
		yes("persistent", "subscribers have sessions that outlive the connection", func(s *Scenario) any { return &s.Keep }),
		yes("offline", "subscribers leave before the publishers begin, and return for their messages at the end", func(s *Scenario) any { return &s.Offline }),
		number("returning", "`number` of subscribers that return, of those that left (all)", func(s *Scenario) any { return &s.Returning }),
		{Setting{Key: "restart", Usage: "before they return, the broker is ended and started again: stop (SIGTERM) or kill (SIGKILL)", Plan: true}, func(s *Scenario) any { return &s.Restart }},
		number("connect_rate", "connections per second at which clients connect; a `number` (as fast as the broker goes)", func(s *Scenario) any { return &s.ConnectRate }),
		number("keep_alive", "keep-alive `time` of all clients", func(s *Scenario) any { return &s.KeepAlive }),
		number("churn", "clients per second that connect, subscribe and leave meanwhile; a `number`", func(s *Scenario) any { return &s.Churn }),
		yes("wills", "clients that come and go have wills, and leave without DISCONNECT", func(s *Scenario) any { return &s.Wills }),
		number("slow_readers", "`number` of subscribers that read slowly", func(s *Scenario) any { return &s.SlowReaders }),
		number("slow_rate", "`bytes` per second that a slow reader reads", func(s *Scenario) any { return &s.SlowRate }),
		number("warm_up", "`time` before measuring begins", func(s *Scenario) any { return &s.WarmUp }),
		number("duration", "`time` of measuring", func(s *Scenario) any { return &s.Duration }),
		number("drain", "`time` without any progress after which messages under way count as lost", func(s *Scenario) any { return &s.Drain }),
		number("settle", "`time` between connecting and publishing, and before subscribers that left return", func(s *Scenario) any { return &s.Settle }),
		yes("needs_tls", "refuse an address without TLS", func(s *Scenario) any { return &s.NeedsTLS }),
		yes("allow_loss", "losses are counted, but are no fault", func(s *Scenario) any { return &s.AllowLoss }),
	}
}

// Set sets the setting key to value, which may have a suffix K or M if it is
// a number.
func (s *Scenario) Set(key, value string) error {
	for _, f := range settings() {
		if f.Key != key {
			continue
		}
		if err := assign(f.field(s), value); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	}
	return fmt.Errorf("%s: no such setting of a scenario", key)
}

func assign(field any, value string) (err error) {
	switch p := field.(type) {
	case *string:
		*p = value
	case *Filter:
		*p = Filter(value)
	case *Restart:
		*p = Restart(value)
	case *int:
		*p, err = number(value)
	case *float64:
		*p, err = quantity(value)
	case *bool:
		if *p, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("%q is neither true nor false", value)
		}
	case *Duration:
		var d time.Duration
		if d, err = time.ParseDuration(value); err != nil {
			err = fmt.Errorf("%q is no time such as 10s or 1m30s", value)
		}
		*p = Duration(d)
	default:
		panic(fmt.Sprintf("bench: setting of type %T", field))
	}
	return err
}

// ParseTable makes a scenario of a TOML table: its settings by their keys. A
// key "scenario" names the open scenario to begin with. All faults are joined.
func ParseTable(table map[string]any) (Scenario, error) {
	s := Default()
	if base, ok := table["scenario"]; ok {
		var err error
		if s, err = Parse(fmt.Sprint(base)); err != nil {
			return s, err
		}
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if key != "scenario" {
			errs = append(errs, s.Set(key, fmt.Sprint(table[key])))
		}
	}
	// A rate replaces a window and the other way round.
	_, rate := table["rate"]
	_, window := table["window"]
	s.choose(rate, window)
	if err := errors.Join(errs...); err != nil {
		return s, err
	}
	return s, s.Validate()
}

// choose drops the loop of the named scenario when the other one was asked
// for.
func (s *Scenario) choose(rate, window bool) {
	switch {
	case rate && !window && s.Rate > 0:
		s.Window = 0
	case window && !rate && s.Window > 0:
		s.Rate = 0
	}
}
