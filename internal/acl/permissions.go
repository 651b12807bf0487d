package acl

import (
	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/variable"
)

// Sources are what says what a client may do. What the first has no rule for the
// next decides. What none of them decides is denied, and without any of them everything is
// allowed.
type Sources struct {
	Own      *ClientRules   // that came with who the client is; nil: none
	Listener *Rules         // of its listener; nil: none
	Ask      routing.Asking // somebody who decides what rules leave open; nil: nobody
}

// For is what a client may do: by the rules as they are whenever it is asked. mount is its
// mount point, "" for none.
func (from Sources) For(c variable.Client, groups []string, mount string) routing.Permissions {
	p := permissions{from, subject{Client: c, groups: groups, mount: mount}}
	if from.Ask != nil {
		return &asking{p}
	}
	return &p
}

// permissions implements routing.Permissions.
type permissions struct {
	Sources
	subject
}

// decide asks the rules in their order.
func (p *permissions) decide(ask func(*list) verdict) verdict {
	rest := allowed // without any of them
	if p.Own != nil {
		if v := ask(p.Own.list); v != undecided {
			return v
		}
		rest = undecided
	}
	if p.Listener != nil {
		if l := p.Listener.list(); l != nil {
			return ask(l)
		}
	}
	if p.Ask != nil {
		rest = undecided
	}
	return rest
}

func (p *permissions) publish(topic []byte, qos packet.QoS, retain bool) verdict {
	return p.decide(func(l *list) verdict { return l.mayPublish(&p.subject, string(topic), qos, retain) })
}

func (p *permissions) subscribe(filter string) verdict {
	return p.decide(func(l *list) verdict { return l.maySubscribe(&p.subject, filter) })
}

func (p *permissions) receive(topic []byte) verdict {
	return p.decide(func(l *list) verdict { return l.mayReceive(&p.subject, string(topic)) })
}

func (p *permissions) Publish(topic []byte, qos packet.QoS, retain bool) bool {
	return p.publish(topic, qos, retain) == allowed
}

func (p *permissions) Subscribe(filter string) bool { return p.subscribe(filter) == allowed }

func (p *permissions) Receive(topic []byte) bool { return p.receive(topic) == allowed }

// asking implements routing.Asking: what rules leave open is asked.
type asking struct{ permissions }

func (p *asking) Publish(topic []byte, qos packet.QoS, retain bool) bool {
	v := p.publish(topic, qos, retain)
	return v == allowed || v == undecided && p.Ask.Publish(topic, qos, retain)
}

func (p *asking) Subscribe(filter string) bool {
	v := p.subscribe(filter)
	return v == allowed || v == undecided && p.Ask.Subscribe(filter)
}

func (p *asking) Receive(topic []byte) bool {
	v := p.receive(topic)
	return v == allowed || v == undecided && p.Ask.Receive(topic)
}

func (p *asking) ReadyToPublish(topic []byte, qos packet.QoS, retain bool, then func()) bool {
	return p.publish(topic, qos, retain) != undecided || p.Ask.ReadyToPublish(topic, qos, retain, then)
}

func (p *asking) ReadyToSubscribe(filters []string, then func()) bool {
	var open []string
	for _, f := range filters {
		if p.subscribe(f) == undecided {
			open = append(open, f)
		}
	}
	return open == nil || p.Ask.ReadyToSubscribe(open, then)
}
