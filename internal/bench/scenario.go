package bench

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"midge/internal/packet"
)

// MinPayload is the least payload in bytes: flow, sequence number and the
// time at which the message was due.
const MinPayload = 16

// Scenario is a load. Parse, ParseTable and Set make one; settings tells the
// meaning, the name and the default of each field.
//
// A flow is what one publisher sends on one topic: sequence numbers are per
// flow. With at least as many topics as publishers each topic has one
// publisher, and otherwise each publisher one topic.
type Scenario struct {
	Name string `json:"name"`

	Publishers  int      `json:"publishers"`
	Subscribers int      `json:"subscribers"`
	Topics      int      `json:"topics"`
	Filter      Filter   `json:"filter"`
	Filters     int      `json:"filters,omitempty"`
	Clients     int      `json:"clients,omitempty"`
	QoS         int      `json:"qos"`
	SubQoS      int      `json:"subscriber_qos"`
	Size        int      `json:"size"`
	Retain      bool     `json:"retain,omitempty"`
	Retained    int      `json:"retained,omitempty"`
	Readers     int      `json:"readers,omitempty"`
	Rate        float64  `json:"rate,omitempty"`
	Window      int      `json:"window,omitempty"`
	Inflight    int      `json:"inflight"`
	Messages    int      `json:"messages,omitempty"`
	Keep        bool     `json:"persistent,omitempty"`
	Offline     bool     `json:"offline,omitempty"`
	Returning   int      `json:"returning,omitempty"`
	Restart     Restart  `json:"restart,omitempty"`
	ConnectRate float64  `json:"connect_rate,omitempty"`
	KeepAlive   Duration `json:"keep_alive"`
	Churn       float64  `json:"churn,omitempty"`
	Wills       bool     `json:"wills,omitempty"`
	SlowReaders int      `json:"slow_readers,omitempty"`
	SlowRate    int      `json:"slow_rate,omitempty"`
	WarmUp      Duration `json:"warm_up"`
	Duration    Duration `json:"duration"`
	Drain       Duration `json:"drain"`
	Settle      Duration `json:"settle,omitempty"`
	AllowLoss   bool     `json:"allow_loss,omitempty"`
	NeedsTLS    bool     `json:"needs_tls,omitempty"`
}

// Filter says what a subscriber subscribes to.
type Filter string

// The kinds of filter.
const (
	FilterTopic    Filter = "topic"    // its share of the topics, by name
	FilterPlus     Filter = "plus"     // its share of the topics, each by a filter with "+"
	FilterAll      Filter = "all"      // all topics, each by name
	FilterWildcard Filter = "wildcard" // all topics, by one filter with "#"
	FilterShared   Filter = "shared"   // all topics, by one shared subscription with "#"
)

// Restart says what happens to the broker while messages wait for sessions
// whose clients are away.
type Restart string

// The kinds of restart. What was acknowledged must survive both.
const (
	RestartNone Restart = ""
	RestartStop Restart = "stop" // SIGTERM, and a new start
	RestartKill Restart = "kill" // SIGKILL, and a new start
)

// Duration is a time.Duration that is written as Go does, such as "1m30s".
type Duration time.Duration

// String returns d as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes d as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(b []byte) error {
	parsed, err := time.ParseDuration(string(b))
	*d = Duration(parsed)
	return err
}

// Default is the scenario that settings begin with: nobody does anything.
func Default() Scenario {
	return Scenario{
		Filter: FilterTopic, SubQoS: -1, Size: MinPayload, Inflight: 1000,
		KeepAlive: Duration(300 * time.Second), WarmUp: Duration(time.Second), Duration: Duration(10 * time.Second),
		Drain: Duration(5 * time.Second),
	}
}

// withDefaults fills in what follows from other settings.
func (s Scenario) withDefaults() Scenario {
	s.Name = cmp.Or(s.Name, "custom")
	s.Topics = cmp.Or(s.Topics, max(s.Publishers, 1))
	if s.SubQoS < 0 {
		s.SubQoS = s.QoS
	}
	if s.Rate == 0 && s.Window == 0 && s.Publishers > 0 {
		s.Window = 10
	}
	if s.Retained > 0 {
		s.Readers = cmp.Or(s.Readers, 1)
	}
	if s.SlowReaders > 0 {
		s.SlowRate = cmp.Or(s.SlowRate, 1000)
	}
	if s.Offline {
		s.Keep = true
		s.Returning = cmp.Or(s.Returning, s.Subscribers)
	}
	return s
}

// flows is the number of flows.
func (s *Scenario) flows() int {
	if s.Publishers == 0 {
		return 0
	}
	return max(s.Publishers, s.Topics)
}

// connections is the number of connections that are open at a time, at most.
func (s *Scenario) connections() int {
	n := s.Publishers + s.Subscribers + s.Clients
	if s.Offline { // the others have only made their sessions
		n = s.Publishers + max(s.Returning, min(s.Subscribers, connectBatch)) + s.Clients
	}
	if s.Churn > 0 {
		n += churnRoom(s.Churn) + 1
	}
	if s.Retained > 0 {
		n += s.Readers + 1
	}
	return n
}

// made is the number of connections that are made before the publishers begin:
// each takes a port for a minute, also when it is closed at once.
func (s *Scenario) made() int { return s.Publishers + s.Subscribers + s.Clients }

// shared reports whether a message goes to one of the subscribers only.
func (s *Scenario) shared() bool { return s.Filter == FilterShared }

// Validate joins all faults of the scenario, each beginning with its setting.
func (s Scenario) Validate() error {
	s = s.withDefaults()
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, n := range []struct {
		name      string
		n, lo, hi int
	}{
		{"publishers", s.Publishers, 0, 1 << 20},
		{"subscribers", s.Subscribers, 0, 1 << 20},
		{"clients", s.Clients, 0, 1 << 20},
		{"topics", s.Topics, 1, 1 << 20},
		{"filters", s.Filters, 0, 1 << 24},
		{"qos", s.QoS, 0, 2},
		{"subscriber_qos", s.SubQoS, 0, 2},
		{"size", s.Size, MinPayload, 200 << 20},
		{"window", s.Window, 0, 1 << 20},
		{"inflight", s.Inflight, 1, 65535},
		{"messages", s.Messages, 0, 1 << 30},
		{"returning", s.Returning, 0, s.Subscribers},
		{"retained", s.Retained, 0, 1 << 24},
		{"readers", s.Readers, 0, 1 << 16},
		{"slow_readers", s.SlowReaders, 0, s.Subscribers},
		{"slow_rate", s.SlowRate, 0, 1 << 30},
	} {
		fault(n.n < n.lo || n.n > n.hi, "%s: %d is outside %d to %d", n.name, n.n, n.lo, n.hi)
	}
	fault(s.Publishers+s.Subscribers+s.Clients+s.Retained == 0 && s.Churn == 0, "no clients: set publishers, subscribers, clients, retained or churn")
	fault(s.Rate < 0 || s.ConnectRate < 0 || s.Churn < 0, "rate, connect_rate and churn can't be negative")
	fault(s.Rate > 0 && s.Window > 0, "rate and window: choose one, an open loop or a closed one")
	fault(s.Rate > 1e9, "rate: %g messages a second is more than the clock can tell apart", s.Rate)
	fault(s.Window > 0 && s.QoS == 0 && s.Subscribers == 0, "window: a closed loop at QoS 0 needs subscribers; use rate")
	fault(s.Window > 0 && s.Offline && s.QoS == 0, "offline: needs QoS 1 or 2")
	fault(s.Offline && s.SubQoS == 0, "offline: subscriber_qos must be 1 or 2, or nothing is kept")
	fault(s.Offline && s.Subscribers == 0, "offline: needs subscribers")
	fault(s.Offline && s.shared(), "offline: not with shared subscriptions")
	fault(s.Returning > 0 && !s.Offline, "returning: needs offline")
	fault(s.Restart != RestartNone && !s.Offline, "restart: needs offline, or nothing is asked of the broker afterwards")
	fault(s.Restart != RestartNone && s.Churn > 0, "restart: not with churn")
	fault(s.Filters > 0 && s.Clients == 0, "filters: needs clients that subscribe to them")
	fault(s.Wills && s.Churn == 0, "wills: needs churn")
	fault(s.Readers > 0 && s.Retained == 0, "readers: needs retained messages to read")
	fault(s.Retained > 0 && s.Offline, "retained: not with offline")
	fault(s.Retained > 0 && s.Messages > 0, "retained: not with a number of messages; they are read as long as the run takes")
	fault(s.KeepAlive < 0 || time.Duration(s.KeepAlive) > 65535*time.Second, "keep_alive: %v is outside 0s to 18h12m15s", s.KeepAlive)
	fault(s.WarmUp < 0 || s.Duration <= 0 || s.Drain <= 0 || s.Settle < 0, "warm_up, duration, drain and settle must be positive")
	switch s.Restart {
	case RestartNone, RestartStop, RestartKill:
	default:
		fault(true, "restart: %q is none of stop, kill", s.Restart)
	}
	switch s.Filter {
	case FilterTopic, FilterPlus, FilterAll, FilterWildcard, FilterShared:
	default:
		fault(true, "filter: %q is none of topic, plus, all, wildcard, shared", s.Filter)
	}
	return errors.Join(errs...)
}

// version is the version that the scenario needs, given what the target asks
// for.
func (s *Scenario) version(asked packet.Version) (packet.Version, error) {
	switch {
	case asked == 0 && s.shared():
		return packet.V5, nil
	case asked == 0:
		return packet.V311, nil
	case asked != packet.V311 && asked != packet.V5:
		return 0, fmt.Errorf("MQTT %v: the bench speaks 3.1.1 and 5.0", asked)
	}
	return asked, nil
}

// churnRoom is how many connections of clients that come and go are open at a
// time, at most: those of one second.
func churnRoom(perSecond float64) int { return int(perSecond) + 1 }
