package clients

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"midge/internal/cli/command"
	"midge/internal/client"
)

// properties are the MQTT 5.0 properties of the packets that a command sends.
type properties struct {
	set []string // command, separator, identifier, separator, value
}

// stage collects the properties of one packet.
type stage struct {
	connect    *client.Options
	message    *client.Message // of publish or will
	delay      *uint32         // of will
	user       *[]client.UserProperty
	disconnect *client.Disconnection

	subscription *uint32 // identifier
}

// apply gives each property to the packet that it names. What it can't name is
// an error.
func (p *properties) apply(stages map[string]stage) error {
	for _, text := range p.set {
		words := strings.Split(text, command.Separator)
		if len(words) == 1 {
			words = strings.Fields(text)
		}
		if len(words) < 3 || strings.EqualFold(words[1], "user-property") != (len(words) == 4) {
			return fmt.Errorf("-D %s: write command identifier value, or command user-property key value", strings.Join(words, " "))
		}
		words[0], words[1] = strings.ToLower(words[0]), strings.ToLower(words[1]) // the standard writes PUBLISH
		s, known := stages[words[0]]
		if !known {
			return fmt.Errorf("-D %s: this command sends no packet %s with properties", strings.Join(words, " "), words[0])
		}
		if err := s.apply(words[1], words[2:]); err != nil {
			return fmt.Errorf("-D %s: %w", strings.Join(words, " "), err)
		}
	}
	return nil
}

var errNoProperty = errors.New("the packet has no such property")

func (s stage) apply(id string, value []string) error {
	if id == "user-property" {
		*s.user = append(*s.user, client.UserProperty{Key: value[0], Value: value[1]})
		return nil
	}
	switch {
	case s.connect != nil:
		return connectProperty(s.connect, id, value[0])
	case s.disconnect != nil && id == "session-expiry-interval":
		return number(value[0], &s.disconnect.SessionExpiry)
	case s.disconnect != nil && id == "reason-string":
		s.disconnect.ReasonString = value[0]
		return nil
	case s.subscription != nil && id == "subscription-identifier":
		return positive32(value[0], s.subscription)
	case s.delay != nil && id == "will-delay-interval":
		return whole(value[0], s.delay)
	case s.message != nil:
		return s.messageProperty(id, value[0])
	}
	return errNoProperty
}

func connectProperty(o *client.Options, id, value string) error {
	switch id {
	case "authentication-data":
		o.AuthenticationData = []byte(value)
	case "authentication-method":
		o.AuthenticationMethod = value
	case "maximum-packet-size":
		return positive32(value, &o.MaximumPacketSize)
	case "receive-maximum":
		err := whole(value, &o.ReceiveMaximum)
		if err == nil && o.ReceiveMaximum == 0 {
			err = errZero
		}
		return err
	case "topic-alias-maximum":
		return whole(value, &o.TopicAliasMaximum)
	case "session-expiry-interval":
		return whole(value, &o.SessionExpiry)
	case "request-problem-information":
		on, err := strconv.ParseBool(value)
		o.WithoutProblemInformation = !on
		return err
	case "request-response-information":
		on, err := strconv.ParseBool(value)
		o.RequestResponseInformation = on
		return err
	default:
		return errNoProperty
	}
	return nil
}

func (s stage) messageProperty(id, value string) error {
	m := s.message
	switch id {
	case "content-type":
		m.ContentType = value
	case "correlation-data":
		m.CorrelationData = []byte(value)
	case "response-topic":
		m.ResponseTopic = value
	case "message-expiry-interval":
		return number(value, &m.Expiry)
	case "payload-format-indicator":
		if value != "0" && value != "1" {
			return errors.New("it is 0 or 1")
		}
		format := value[0] - '0'
		m.PayloadFormat = &format
	case "topic-alias":
		if s.delay != nil {
			return errNoProperty
		}
		return whole(value, &m.TopicAlias)
	default:
		return errNoProperty
	}
	return nil
}

func number(text string, to **uint32) error {
	var n uint32
	err := whole(text, &n)
	*to = &n
	return err
}

// whole reads a whole number that fits in its type.
func whole[T uint16 | uint32](text string, to *T) error {
	n, err := strconv.ParseUint(text, 10, 64)
	if largest := uint64(^T(0)); err != nil || n > largest {
		return fmt.Errorf("it is a whole number of up to %d", largest)
	}
	*to = T(n)
	return nil
}

// errZero reports a value that the standard calls a Protocol Error.
var errZero = errors.New("it is 1 or more")

// positive32 is whole without 0.
func positive32(text string, to *uint32) error {
	err := whole(text, to)
	if err == nil && *to == 0 {
		err = errZero
	}
	return err
}
