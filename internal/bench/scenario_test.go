package bench

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestQoSByDefault proves that a run of one's own compares with the throughput
// scenarios: it publishes and subscribes at their QoS.
func TestQoSByDefault(t *testing.T) {
	named, err := Parse("throughput-1")
	if err != nil {
		t.Fatal(err)
	}
	own, named := Default().withDefaults(), named.withDefaults()
	if own.QoS != named.QoS || own.SubQoS != named.SubQoS {
		t.Errorf("QoS %d and %d, those of %s are %d and %d", own.QoS, own.SubQoS, named.Name, named.QoS, named.SubQoS)
	}
}

func TestNames(t *testing.T) {
	base := func(change func(*Scenario)) Scenario {
		s := Default()
		s.QoS = 1
		change(&s)
		return s
	}
	for name, want := range map[string]Scenario{
		"conn-tcp-10K-100": base(func(s *Scenario) { s.Clients, s.ConnectRate = 10_000, 100 }),
		"conn-tls-10K-100": base(func(s *Scenario) { s.Clients, s.ConnectRate, s.NeedsTLS = 10_000, 100, true }),
		"storm-1K": base(func(s *Scenario) {
			s.Publishers, s.Subscribers, s.Topics, s.QoS, s.Rate, s.Churn = 20, 20, 20, 0, 1000, 1000
		}),
		"fanout-1-1k-1-1K": base(func(s *Scenario) {
			s.Publishers, s.Subscribers, s.Topics, s.Filter, s.Rate = 1, 1000, 1, FilterAll, 1
		}),
		"singlenode-fanout-5-1000-5-250K": base(func(s *Scenario) {
			s.Publishers, s.Subscribers, s.Topics, s.Filter, s.Rate = 5, 1000, 5, FilterAll, 250
		}),
		"p2p-50K-50K-50K-50K": base(func(s *Scenario) {
			s.Publishers, s.Subscribers, s.Topics, s.Rate = 50_000, 50_000, 50_000, 50_000
		}),
		"sharedsub-1K-5-1K-1K": base(func(s *Scenario) {
			s.Publishers, s.Subscribers, s.Topics, s.Filter, s.Rate = 1000, 5, 1000, FilterShared, 1000
		}),
		"singlenode-sharesub-50K-500-50K-50K": base(func(s *Scenario) {
			s.Publishers, s.Subscribers, s.Topics, s.Filter, s.Rate = 50_000, 500, 50_000, FilterShared, 50_000
		}),
		"fanin-1K-1-1K-1K": base(func(s *Scenario) {
			s.Publishers, s.Subscribers, s.Topics, s.Filter, s.Rate = 1000, 1, 1000, FilterWildcard, 1000
		}),
		"latency-1-512K": base(func(s *Scenario) {
			s.Publishers, s.Subscribers, s.Topics, s.Filter, s.QoS, s.Size, s.Messages, s.Window = 1, 512_000, 1, FilterAll, 0, 64, 5, 1
			s.WarmUp, s.Drain = 0, Duration(20*time.Second)
		}),
		"churn-500": base(func(s *Scenario) { s.Churn = 500 }),
	} {
		got, err := Parse(name)
		want.Name = name
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v (%v), want %+v", name, got, err, want)
		}
	}
	for _, n := range Names() {
		if _, err := Parse(n.Example); err != nil {
			t.Errorf("the example of %s: %v", n.Pattern, err)
		}
	}
	for name, want := range map[string]string{
		"":              "unknown",
		"fanout":        "unknown",
		"fanout-1-2-3":  "PUBLISHERS-SUBSCRIBERS-TOPICS-RATE",
		"p2p-1-x-1-1":   `"x" is no number`,
		"p2p-0-1-1-1":   `"0" is no number`,
		"p2p-1.5-1-1-1": `"1.5" is no number`,
		"conn-tcp-1G-5": `"1g" is no number`,
		"latency-1-9M":  "subscribers: 9000000 is outside",
		"p2p--1-1-1-1":  "PUBLISHERS",
	} {
		if _, err := Parse(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", name, err, want)
		}
	}
}

func TestTable(t *testing.T) {
	table, err := DecodeTable([]byte("scenario = \"p2p-1K-1K-1K-1K\"\nname = \"mine\"\nwindow = 5\nduration = \"2s\"\nqos = 2\nretain = true\npublishers = \"2K\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseTable(table)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "mine" || s.Window != 5 || s.Rate != 0 || s.Duration != Duration(2*time.Second) || s.QoS != 2 || !s.Retain || s.Publishers != 2000 || s.Topics != 1000 {
		t.Errorf("got %+v", s)
	}
	for text, want := range map[string]string{
		"publishers = 1\nfoo = 2\nqos = 3\nsize = 4\nduration = \"x\"":                            "foo: no such setting|duration: \"x\" is no time",
		"publishers = 1\nqos = 3\nsize = 4":                                                       "qos: 3 is outside 0 to 2|size: 4 is outside 16",
		"publishers = 1\nrate = 5\nwindow = 2":                                                    "choose one",
		"qos = 1":                                                                                 "no clients",
		"publishers = 1\nwindow = 1\nqos = 0":                                                     "closed loop at QoS 0 needs subscribers",
		"publishers = [1]":                                                                        "publishers: ",
		"publishers = ":                                                                           "line 1",
		"clients = 1\nfilter = \"x\"":                                                             "filter: \"x\" is none of",
		"publishers = 1\nsubscribers = 1\noffline = true\nqos = 0":                                "offline: subscriber_qos must be",
		"publishers = 1\nsubscribers = 1\nreturning = 1":                                          "returning: needs offline",
		"publishers = 1\nsubscribers = 1\nqos = 1\noffline = true\nreturning = 2":                 "returning: 2 is outside 0 to 1",
		"publishers = 1\nsubscribers = 1\nrestart = \"stop\"":                                     "restart: needs offline",
		"publishers = 1\nsubscribers = 1\nqos = 1\noffline = true\nrestart = \"halt\"":            "restart: \"halt\" is none of stop, kill",
		"publishers = 1\nsubscribers = 1\nqos = 1\noffline = true\nchurn = 1\nrestart = \"kill\"": "restart: not with churn",
	} {
		table, err := DecodeTable([]byte(text))
		if err == nil {
			_, err = ParseTable(table)
		}
		for part := range strings.SplitSeq(want, "|") {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q: error %v, want one with %q", text, err, part)
			}
		}
	}
}

// TestEverySettingIsSet proves that the table of settings covers the struct.
func TestEverySettingIsSet(t *testing.T) {
	keys := map[any]string{}
	s := Default()
	for _, f := range settings() {
		p := f.field(&s)
		if keys[p] != "" || f.Usage == "" {
			t.Errorf("%s: the field has another setting already, or no usage", f.Key)
		}
		keys[p] = f.Key
	}
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		key := keys[v.Field(i).Addr().Interface()]
		tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if key != tag {
			t.Errorf("field %s is %q in settings and %q in JSON", v.Type().Field(i).Name, key, tag)
		}
	}
}

// TestLayout proves, for scenarios at random, that workers together have each
// client once, that publishers know their flows, and that wanted, wants and
// track agree.
func TestLayout(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		s := Default()
		s.Publishers, s.Subscribers, s.Topics = 1+r.IntN(12), 1+r.IntN(12), 1+r.IntN(12)
		s.Filter = []Filter{FilterTopic, FilterPlus, FilterAll, FilterWildcard, FilterShared}[r.IntN(5)]
		s = s.withDefaults()
		procs := 1 + r.IntN(4)
		subscribers, publishers := map[int]int{}, map[int]int{}
		for proc := range procs {
			l := newLayout(&plan{Scenario: s, Run: "r", Proc: proc, Procs: procs})
			used := map[int]bool{}
			for n := range s.Subscribers {
				if !l.hasSubscriber(n) {
					continue
				}
				subscribers[n]++
				wanted := map[int]bool{}
				l.wanted(n, func(f int) {
					wanted[f] = true
					at := l.track(n, f)
					if at < 0 || at >= l.trackers() || used[at] {
						t.Fatalf("%+v, %d of %d: tracker %d of %d for subscriber %d and flow %d is used twice or isn't there", s, proc, procs, at, l.trackers(), n, f)
					}
					used[at] = true
				})
				for f := range l.flows {
					subscribed := false
					for _, filter := range l.filters(n) {
						subscribed = subscribed || matches(filter, l.topic(l.topicOf(f)))
					}
					if wanted[f] != l.wants(n, f) || wanted[f] != subscribed {
						t.Fatalf("%+v: subscriber %d, flow %d: wanted %v, wants %v, subscribed %v", s, n, f, wanted[f], l.wants(n, f), subscribed)
					}
				}
			}
			for n := range s.Publishers {
				if l.mine(n) {
					publishers[n]++
				}
			}
		}
		for n := range s.Subscribers {
			if subscribers[n] != 1 {
				t.Fatalf("%+v: %d workers have subscriber %d", s, subscribers[n], n)
			}
		}
		if len(publishers) != s.Publishers {
			t.Fatalf("%+v: %d publishers have a worker", s, len(publishers))
		}
	}
}

// TestTracker compares with a list of all that came.
func TestTracker(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		var tr tracker
		var all bitset
		came, highest := map[uint32]bool{}, -1
		for range 200 {
			seq := uint32(max(0, highest-60+r.IntN(64)))
			want := inOrder
			switch {
			case came[seq]:
				want = duplicate
			case int(seq) < highest:
				want = outOfOrder
			}
			before := uint32(highest + 1)
			highest = max(highest, int(seq))
			got, progress := tr.take(seq)
			if got != want || progress != uint32(highest+1)-before {
				t.Fatalf("take(%d) = %d, %d; want %d, %d", seq, got, progress, want, uint32(highest+1)-before)
			}
			if all.take(seq) == came[seq] {
				t.Fatalf("bitset: take(%d) = %v", seq, !came[seq])
			}
			came[seq] = true
		}
		sent := uint32(highest) + 10
		if lost := tr.lost(sent); lost != uint64(sent)-uint64(len(came)) {
			t.Fatalf("lost %d, want %d", lost, int(sent)-len(came))
		}
	}
}
