package bench

import (
	"fmt"
	"strings"
	"time"
)

// A family is a kind of scenario that goes by names such as
// fanout-5-1K-5-250K: its numbers follow the family's name.
type family struct {
	name    string
	pattern string // of the numbers
	about   string
	example string
	numbers int
	set     func(s *Scenario, n []int)
}

// families lists the open benchmark scenarios first, as the MQTT benchmark
// suite of EMQ defines them (QoS 1, 16 bytes, keep-alive 300 s, and a rate
// that is the sum over all subscribers), then the experiments of the muMQ
// paper, then ours.
func families() []family {
	return []family{
		{"conn-tcp", "CLIENTS-RATE", "clients connect at RATE per second and stay", "conn-tcp-10K-100", 2, func(s *Scenario, n []int) {
			s.Clients, s.ConnectRate = n[0], float64(n[1])
		}},
		{"conn-tls", "CLIENTS-RATE", "the same over TLS", "conn-tls-10K-100", 2, func(s *Scenario, n []int) {
			s.Clients, s.ConnectRate, s.NeedsTLS = n[0], float64(n[1]), true
		}},
		{"fanout", "PUBLISHERS-SUBSCRIBERS-TOPICS-RATE", "each subscriber subscribes to all topics; RATE messages per second are received in all", "fanout-1-1K-1-1K", 4, func(s *Scenario, n []int) {
			s.Publishers, s.Subscribers, s.Topics, s.Filter = n[0], n[1], n[2], FilterAll
			s.Rate = float64(n[3]) / float64(max(1, n[1]))
		}},
		{"p2p", "PUBLISHERS-SUBSCRIBERS-TOPICS-RATE", "each subscriber has topics of its own", "p2p-1K-1K-1K-1K", 4, func(s *Scenario, n []int) {
			s.Publishers, s.Subscribers, s.Topics = n[0], n[1], n[2]
			s.Rate = float64(n[3]) * float64(s.Topics) / float64(max(s.Topics, n[1]))
		}},
		{"sharedsub", "PUBLISHERS-SUBSCRIBERS-TOPICS-RATE", "subscribers share one subscription to all topics (MQTT 5.0)", "sharedsub-1K-5-1K-1K", 4, func(s *Scenario, n []int) {
			s.Publishers, s.Subscribers, s.Topics, s.Filter, s.Rate = n[0], n[1], n[2], FilterShared, float64(n[3])
		}},
		{"fanin", "PUBLISHERS-SUBSCRIBERS-TOPICS-RATE", "each subscriber gets all topics by a wildcard", "fanin-1K-1-1K-1K", 4, func(s *Scenario, n []int) {
			s.Publishers, s.Subscribers, s.Topics, s.Filter = n[0], n[1], n[2], FilterWildcard
			s.Rate = float64(n[3]) / float64(max(1, n[1]))
		}},
		{"persistent", "SESSIONS-MESSAGES", "sessions whose clients are away get MESSAGES each, and return for them", "persistent-1K-100", 2, func(s *Scenario, n []int) {
			s.Publishers, s.Subscribers, s.Topics, s.Messages = min(n[0], 100), n[0], n[0], n[1]
			s.Offline, s.Window, s.WarmUp, s.Drain = true, 10, 0, Duration(20*time.Second)
		}},
		{"latency-1", "SUBSCRIBERS", "the paper's end-to-end latency: 5 messages of 64 B, one at a time, to all subscribers, QoS 0", "latency-1-64K", 1, func(s *Scenario, n []int) {
			s.Publishers, s.Subscribers, s.Topics, s.Filter = 1, n[0], 1, FilterAll
			s.QoS, s.Size, s.Messages, s.Window, s.WarmUp, s.Drain = 0, 64, 5, 1, 0, Duration(20*time.Second)
		}},
		{"throughput", "PAIRS", "the paper's throughput: 64 B, a subscriber for each publisher, QoS 0, as fast as it goes", "throughput-1K", 1, func(s *Scenario, n []int) {
			s.Publishers, s.Subscribers, s.Topics, s.QoS, s.Size, s.Window = n[0], n[0], n[0], 0, 64, 10
		}},
		{"cpu-1", "SUBSCRIBERS", "the paper's CPU time against subscribers: one message of 64 B per second to all of them, QoS 0", "cpu-1-10K", 1, func(s *Scenario, n []int) {
			s.Publishers, s.Subscribers, s.Topics, s.Filter = 1, n[0], 1, FilterAll
			s.QoS, s.Size, s.Rate = 0, 64, 1
		}},
		{"idle", "CLIENTS", "clients with a subscription each that get nothing, five seconds to settle: memory of a connection", "idle-10K", 1, func(s *Scenario, n []int) {
			s.Clients, s.Filters, s.Settle, s.Duration = n[0], n[0], Duration(5*time.Second), Duration(2*time.Second)
		}},
		{"retained", "MESSAGES-RATE", "clients ask for MESSAGES retained messages, again and again, while a pair exchanges RATE per second: what the others notice", "retained-100K-1K", 2, func(s *Scenario, n []int) {
			s.Publishers, s.Subscribers, s.Topics, s.QoS, s.Retained, s.Rate = 1, 1, 1, 0, n[0], float64(n[1])
		}},
		{"storm", "RATE", "RATE clients per second connect, subscribe and leave, while 20 pairs exchange 1,000 messages per second: what those notice", "storm-1K", 1, func(s *Scenario, n []int) {
			s.Publishers, s.Subscribers, s.Topics, s.QoS, s.Rate, s.Churn = 20, 20, 20, 0, 1000, float64(n[0])
		}},
		{"churn", "RATE", "RATE clients per second connect, subscribe and leave", "churn-500", 1, func(s *Scenario, n []int) {
			s.Churn = float64(n[0])
		}},
	}
}

// Name describes a family of named scenarios for help texts.
type Name struct{ Pattern, About, Example string }

// Names lists the families of named scenarios.
func Names() []Name {
	var all []Name
	for _, f := range families() {
		all = append(all, Name{f.name + "-" + f.pattern, f.about, f.example})
	}
	return all
}

// Parse makes the scenario of a name such as fanout-5-1K-5-250K. Numbers may
// have a suffix K or M, in either case, and the name a prefix "singlenode-".
func Parse(name string) (Scenario, error) {
	plain := strings.TrimPrefix(strings.ToLower(name), "singlenode-")
	plain = strings.Replace(plain, "sharesub-", "sharedsub-", 1)
	for _, f := range families() {
		rest, found := strings.CutPrefix(plain, f.name+"-")
		if !found {
			continue
		}
		parts := strings.Split(rest, "-")
		if len(parts) != f.numbers {
			return Scenario{}, fmt.Errorf("scenario %s: want %s-%s, such as %s", name, f.name, f.pattern, f.example)
		}
		var numbers []int
		for _, p := range parts {
			n, err := number(p)
			if err != nil || n == 0 {
				return Scenario{}, fmt.Errorf("scenario %s: %q is no number of clients, topics or messages such as 100, 1K or 1M", name, p)
			}
			numbers = append(numbers, n)
		}
		s := Default()
		s.Name, s.QoS = name, 1
		f.set(&s, numbers)
		if err := s.Validate(); err != nil {
			return s, fmt.Errorf("scenario %s: %w", name, err)
		}
		return s, nil
	}
	var known []string
	for _, f := range families() {
		known = append(known, f.example)
	}
	return Scenario{}, fmt.Errorf("scenario %s: unknown; there are names like %s", name, strings.Join(known, ", "))
}
