package message

import "midge/internal/bufpool"

// Parcel is a large Message that several share. Its payload may lie in a buffer, such
// as its publisher's input: then it is good for as long as somebody retains it.
// All else is memory of its own.
type Parcel struct {
	Message
	buffer *bufpool.Buffer // nil: the payload is memory of its own, too
}

// NewParcel makes a Parcel of a message, whose payload may lie in buffer; nil means that
// it doesn't. Who calls it retains it or not: the caller's own share of the buffer is
// not passed on.
func NewParcel(m *Message, buffer *bufpool.Buffer) *Parcel {
	if buffer == nil || !buffer.Holds(m.Payload) {
		p := &Parcel{}
		m.CloneInto(&p.Message)
		return p
	}
	p := &Parcel{*m, buffer}
	p.Payload = nil
	p.CloneInto(&p.Message)
	p.Payload = m.Payload
	return p
}

// Buffer is what the payload lies in, nil if that is memory of its own.
func (p *Parcel) Buffer() *bufpool.Buffer { return p.buffer }

// Retain adds one who shares the parcel, from any goroutine. Only who shares it already may
// call it, or who shares the buffer that it was made with.
func (p *Parcel) Retain() {
	if p.buffer != nil {
		p.buffer.Retain()
	}
}

// Release ends what Retain began: the caller doesn't use the message any more. Who
// never calls it leaves the memory to the garbage collector.
func (p *Parcel) Release() {
	if p.buffer != nil {
		p.buffer.Release()
	}
}

// Held is how much memory the parcel holds, in bytes.
func (p *Parcel) Held() int {
	if p.buffer == nil {
		return p.Size()
	}
	return p.Size() - len(p.Payload) + len(p.buffer.Bytes())
}
