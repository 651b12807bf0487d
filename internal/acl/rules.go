package acl

import (
	"sync/atomic"

	"midge/internal/packet"
	"midge/internal/routing"
)

// Rules are those that a listener goes by: the ones of a File, which can be exchanged for
// another one while clients are connected.
type Rules struct{ file atomic.Pointer[File] }

// Use has the rules be those of a file from now on; nil: everybody may do everything.
// Routing has to forget the answers that it remembers: broker.Broker.PermissionsChanged.
func (r *Rules) Use(f *File) { r.file.Store(f) }

// File is the one whose rules these are, nil if there is none.
func (r *Rules) File() *File { return r.file.Load() }

// list is nil if everybody may do everything.
func (r *Rules) list() *list {
	f := r.file.Load()
	if f == nil {
		return nil
	}
	return f.list.Load()
}

// For is what a client may do: by the rules as they are whenever it is asked.
func (r *Rules) For(user, client, listener string, groups []string) routing.Permissions {
	return &permissions{r, subject{user: user, client: client, listener: listener, groups: groups}}
}

// permissions implements routing.Permissions.
type permissions struct {
	rules *Rules
	subject
}

func (p *permissions) Publish(topic []byte, qos packet.QoS, retain bool) bool {
	l := p.rules.list()
	return l == nil || l.mayPublish(&p.subject, string(topic), qos, retain)
}

func (p *permissions) Subscribe(filter string) bool {
	l := p.rules.list()
	return l == nil || l.maySubscribe(&p.subject, filter)
}

func (p *permissions) Receive(topic []byte) bool {
	l := p.rules.list()
	return l == nil || l.mayReceive(&p.subject, string(topic))
}
