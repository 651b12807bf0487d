package mqtt5

import (
	"fmt"

	"midge/internal/packet"
	"midge/test/wire"
)

// fill writes a packet that was read to the struct p of its type.
func fill(p any, w *wire.Packet) error {
	switch p := p.(type) {
	case nil:
	case *packet.Connack:
		*p = packet.Connack{SessionPresent: w.Present, Code: packet.ReasonCode(w.Code), Properties: properties(w.Properties)}
	case *packet.Publish:
		*p = packet.Publish{
			Dup: w.Dup, QoS: packet.QoS(w.QoS), Retain: w.Retain, ID: packet.ID(w.ID), Topic: []byte(w.Topic), Payload: w.Payload,
			Properties: publishProperties(w.Properties),
		}
	case *packet.Ack:
		ps := properties(w.Properties)
		*p = packet.Ack{
			Type: packet.Type(w.Type), ID: packet.ID(w.ID), Code: packet.ReasonCode(w.Code), ReasonString: ps.ReasonString, User: ps.User,
		}
	case *packet.Suback:
		*p = packet.Suback{ID: packet.ID(w.ID), Codes: codes(w.Codes), Properties: properties(w.Properties)}
	case *packet.Unsuback:
		*p = packet.Unsuback{ID: packet.ID(w.ID), Codes: codes(w.Codes), Properties: properties(w.Properties)}
	case *packet.Disconnect:
		*p = packet.Disconnect{Code: packet.ReasonCode(w.Code), Properties: properties(w.Properties)}
	case *packet.Auth:
		*p = packet.Auth{Code: packet.ReasonCode(w.Code), Properties: properties(w.Properties)}
	default:
		return fmt.Errorf("no way to fill a %T", p)
	}
	return nil
}

func codes(all []byte) (list []packet.ReasonCode) {
	for _, c := range all {
		list = append(list, packet.ReasonCode(c))
	}
	return list
}

// properties are those of a packet other than PUBLISH.
func properties(all wire.Properties) (ps packet.Properties) {
	for _, p := range all {
		ps.Set(packet.PropertyID(p.ID))
		switch p.ID {
		case wire.SessionExpiry:
			ps.SessionExpiry = p.Value
		case wire.AssignedClientID:
			ps.AssignedClientID = []byte(p.Text)
		case wire.ServerKeepAlive:
			ps.ServerKeepAlive = uint16(p.Value)
		case wire.AuthenticationMethod:
			ps.AuthMethod = []byte(p.Text)
		case wire.AuthenticationData:
			ps.AuthData = []byte(p.Text)
		case wire.ResponseInformation:
			ps.ResponseInfo = []byte(p.Text)
		case wire.ServerReference:
			ps.ServerReference = []byte(p.Text)
		case wire.ReasonString:
			ps.ReasonString = []byte(p.Text)
		case wire.ReceiveMaximum:
			ps.ReceiveMaximum = uint16(p.Value)
		case wire.TopicAliasMaximum:
			ps.TopicAliasMaximum = uint16(p.Value)
		case wire.MaximumQoS:
			ps.MaximumQoS = packet.QoS(p.Value)
		case wire.RetainAvailable:
			ps.RetainAvailable = p.Value == 1
		case wire.UserProperty:
			ps.User = append(ps.User, packet.UserProperty{Name: []byte(p.Name), Value: []byte(p.Text)})
		case wire.MaximumPacketSize:
			ps.MaximumPacketSize = p.Value
		case wire.WildcardAvailable:
			ps.WildcardAvailable = p.Value == 1
		case wire.SubscriptionIDAvailable:
			ps.SubscriptionIDsUsable = p.Value == 1
		case wire.SharedAvailable:
			ps.SharedAvailable = p.Value == 1
		}
	}
	return ps
}

// publishProperties are those of a PUBLISH.
func publishProperties(all wire.Properties) (ps packet.PublishProperties) {
	for _, p := range all {
		switch p.ID {
		case wire.MessageExpiry:
			ps.HasExpiry, ps.MessageExpiry = true, p.Value
		case wire.TopicAlias:
			ps.TopicAlias = uint16(p.Value)
		case wire.SubscriptionID:
			ps.SubscriptionIDs = append(ps.SubscriptionIDs, p.Value)
		case wire.PayloadFormat:
			ps.PayloadFormat = byte(p.Value)
			fallthrough
		default:
			ps.Forward = wire.Properties{p}.Append(ps.Forward)
		}
	}
	return ps
}
