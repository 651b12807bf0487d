package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

var errShort = errors.New("ends too early")

// Split finds the packet that b begins with, and what is behind its fixed
// header. size is 0 while bytes are missing.
func Split(b []byte) (body []byte, size int, err error) {
	if len(b) == 0 {
		return nil, 0, nil
	}
	r := reader{b: b[1:]}
	length, err := r.variable("remaining length")
	switch {
	case errors.Is(err, errShort):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("%v: %w", Type(b[0]>>4), err)
	case int(length) > len(r.b):
		return nil, 0, nil
	}
	return r.b[:length], len(b) - len(r.b) + int(length), nil
}

// Read reads the packet that b begins with, one that a server sends to a client
// of version v. size is 0 while bytes are missing.
func Read(b []byte, v Version) (p Packet, size int, err error) {
	body, size, err := Split(b)
	if err != nil || size == 0 {
		return p, 0, err
	}
	r := reader{b: body}
	p.Type = Type(b[0] >> 4)
	if err := r.packet(&p, b[0]&15, v); err != nil {
		return p, size, fmt.Errorf("%v: %w", p.Type, err)
	}
	return p, size, nil
}

// reader reads from the front of b.
type reader struct{ b []byte }

func (r *reader) byte(what string) (byte, error) {
	if len(r.b) < 1 {
		return 0, fmt.Errorf("%s: %w", what, errShort)
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v, nil
}

func (r *reader) uint16(what string) (uint16, error) {
	if len(r.b) < 2 {
		return 0, fmt.Errorf("%s: %w", what, errShort)
	}
	v := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v, nil
}

// variable reads a Variable Byte Integer in its shortest form (1.5.5).
func (r *reader) variable(what string) (v uint32, err error) {
	for i := 0; ; i++ {
		if i == 4 {
			return 0, fmt.Errorf("%s of more than four bytes", what)
		}
		if i == len(r.b) {
			return 0, fmt.Errorf("%s: %w", what, errShort)
		}
		v |= uint32(r.b[i]&0x7f) << (7 * i)
		if r.b[i] < 0x80 {
			if i > 0 && r.b[i] == 0 {
				return 0, fmt.Errorf("%s is not in its shortest form", what)
			}
			r.b = r.b[i+1:]
			return v, nil
		}
	}
}

func (r *reader) binary() (string, error) {
	n, err := r.uint16("length")
	if err != nil {
		return "", err
	}
	if int(n) > len(r.b) {
		return "", errShort
	}
	v := string(r.b[:n])
	r.b = r.b[n:]
	return v, nil
}

func (r *reader) text() (string, error) {
	v, err := r.binary()
	if err != nil {
		return "", err
	}
	return v, checkText([]byte(v))
}

// id reads a packet identifier.
func (r *reader) id(p *Packet) (err error) {
	if p.ID, err = r.uint16("packet identifier"); err == nil && p.ID == 0 {
		err = errors.New("packet identifier 0")
	}
	return err
}

// packet reads what is behind the fixed header.
func (r *reader) packet(p *Packet, flags byte, v Version) (err error) {
	var fixed byte // the reserved flags (2.1.3)
	if p.Type == PUBREL {
		fixed = 2
	}
	if p.Type != PUBLISH && flags != fixed {
		return fmt.Errorf("flags %04b", flags)
	}
	switch p.Type {
	case CONNACK:
		err = r.connack(p, v)
	case PUBLISH:
		err = r.publish(p, flags, v)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		err = r.ack(p, v)
	case SUBACK, UNSUBACK:
		err = r.answers(p, v)
	case PINGRESP:
	case DISCONNECT, AUTH:
		if v != V5 {
			return errors.New("is not for this version")
		}
		err = r.reason(p)
	default:
		return errors.New("is not for a server to send")
	}
	if err != nil {
		return err
	}
	if len(r.b) > 0 {
		return fmt.Errorf("%d bytes too many", len(r.b))
	}
	return checkCode(p, v)
}

func (r *reader) connack(p *Packet, v Version) error {
	flags, err := r.byte("flags")
	if err != nil {
		return err
	}
	if p.Code, err = r.byte("code"); err != nil {
		return err
	}
	p.Present = flags == 1
	switch {
	case flags > 1, v == V31 && flags != 0:
		return fmt.Errorf("acknowledge flags %08b", flags)
	case p.Present && p.Code != 0:
		return errors.New("session present although CONNECT is refused")
	}
	if v == V5 {
		p.Properties, err = r.properties(CONNACK)
	}
	return err
}

func (r *reader) publish(p *Packet, flags byte, v Version) (err error) {
	p.Dup, p.QoS, p.Retain = flags&8 != 0, flags>>1&3, flags&1 != 0
	switch {
	case p.QoS == 3:
		return errors.New("QoS 3")
	case p.QoS == 0 && p.Dup:
		return errors.New("DUP with QoS 0")
	}
	if p.Topic, err = r.text(); err != nil {
		return fmt.Errorf("topic name: %w", err)
	}
	if p.QoS > 0 {
		if err := r.id(p); err != nil {
			return err
		}
	}
	if v == V5 {
		if p.Properties, err = r.properties(PUBLISH); err != nil {
			return err
		}
	}
	if p.Topic != "" || !p.Properties.Has(TopicAlias) {
		if err := checkTopic(p.Topic); err != nil {
			return err
		}
	}
	p.Payload = append([]byte{}, r.b...)
	r.b = nil
	return nil
}

// checkTopic looks at a topic name (4.7).
func checkTopic(name string) error {
	if name == "" || strings.ContainsAny(name, "+#") {
		return fmt.Errorf("topic name %q", name)
	}
	return nil
}

// ack reads an acknowledgement, which 5.0 allows to be shorter: without a
// reason code that is Success, and without properties (3.4.2.1).
func (r *reader) ack(p *Packet, v Version) error {
	if err := r.id(p); err != nil || v != V5 {
		return err
	}
	return r.reason(p)
}

// reason reads a reason code and properties that may be left out, as in
// DISCONNECT and AUTH too (3.14.2.1, 3.15.2.1).
func (r *reader) reason(p *Packet) (err error) {
	if len(r.b) == 0 {
		return nil
	}
	if p.Code, err = r.byte("reason code"); err != nil || len(r.b) == 0 {
		return err
	}
	p.Properties, err = r.properties(p.Type)
	return err
}

func (r *reader) answers(p *Packet, v Version) (err error) {
	if err := r.id(p); err != nil {
		return err
	}
	if v == V5 {
		if p.Properties, err = r.properties(p.Type); err != nil {
			return err
		}
	}
	if p.Type == UNSUBACK && v != V5 {
		return nil
	}
	p.Codes = append([]byte{}, r.b...)
	r.b = nil
	if len(p.Codes) == 0 {
		return errors.New("no reason codes")
	}
	return nil
}
