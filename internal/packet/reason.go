package packet

import "fmt"

// ReasonCode is the result of an operation (MQTT 5.0 section 2.4). Codes from
// 0x80 up are failures.
type ReasonCode uint8

// The reason codes of 5.0. Value 0x00 has three names, by packet.
const (
	Success                             ReasonCode = 0x00
	NormalDisconnection                 ReasonCode = 0x00
	GrantedQoS0                         ReasonCode = 0x00
	GrantedQoS1                         ReasonCode = 0x01
	GrantedQoS2                         ReasonCode = 0x02
	DisconnectWithWill                  ReasonCode = 0x04
	NoMatchingSubscribers               ReasonCode = 0x10
	NoSubscriptionExisted               ReasonCode = 0x11
	ContinueAuthentication              ReasonCode = 0x18
	Reauthenticate                      ReasonCode = 0x19
	UnspecifiedError                    ReasonCode = 0x80
	MalformedPacket                     ReasonCode = 0x81
	ProtocolError                       ReasonCode = 0x82
	ImplementationSpecificError         ReasonCode = 0x83
	UnsupportedProtocolVersion          ReasonCode = 0x84
	ClientIdentifierNotValid            ReasonCode = 0x85
	BadUserNameOrPassword               ReasonCode = 0x86
	NotAuthorized                       ReasonCode = 0x87
	ServerUnavailable                   ReasonCode = 0x88
	ServerBusy                          ReasonCode = 0x89
	Banned                              ReasonCode = 0x8A
	ServerShuttingDown                  ReasonCode = 0x8B
	BadAuthenticationMethod             ReasonCode = 0x8C
	KeepAliveTimeout                    ReasonCode = 0x8D
	SessionTakenOver                    ReasonCode = 0x8E
	TopicFilterInvalid                  ReasonCode = 0x8F
	TopicNameInvalid                    ReasonCode = 0x90
	PacketIdentifierInUse               ReasonCode = 0x91
	PacketIdentifierNotFound            ReasonCode = 0x92
	ReceiveMaximumExceeded              ReasonCode = 0x93
	TopicAliasInvalid                   ReasonCode = 0x94
	PacketTooLarge                      ReasonCode = 0x95
	MessageRateTooHigh                  ReasonCode = 0x96
	QuotaExceeded                       ReasonCode = 0x97
	AdministrativeAction                ReasonCode = 0x98
	PayloadFormatInvalid                ReasonCode = 0x99
	RetainNotSupported                  ReasonCode = 0x9A
	QoSNotSupported                     ReasonCode = 0x9B
	UseAnotherServer                    ReasonCode = 0x9C
	ServerMoved                         ReasonCode = 0x9D
	SharedSubscriptionsNotSupported     ReasonCode = 0x9E
	ConnectionRateExceeded              ReasonCode = 0x9F
	MaximumConnectTime                  ReasonCode = 0xA0
	SubscriptionIdentifiersNotSupported ReasonCode = 0xA1
	WildcardSubscriptionsNotSupported   ReasonCode = 0xA2
)

// Failed reports whether the code stands for a failure.
func (c ReasonCode) Failed() bool { return c >= 0x80 }

// String returns the name of the code in 5.0, or its number.
func (c ReasonCode) String() string {
	if name, _ := c.describe(); name != "" {
		return name
	}
	return fmt.Sprintf("reason code 0x%02x", uint8(c))
}

// AllowedIn reports whether 5.0 lists the code for packets of type t.
func (c ReasonCode) AllowedIn(t Type) bool {
	_, in := c.describe()
	return in.has(t)
}

// types is a set of packet types. Bit 0, which no type has, stands for the
// will in CONNECT where properties are concerned.
type types uint16

func (s types) has(t Type) bool { return s>>t&1 != 0 }

const (
	inWill        types = 1
	inConnect     types = 1 << CONNECT
	inConnack     types = 1 << CONNACK
	inPublish     types = 1 << PUBLISH
	inReceipt     types = 1<<PUBACK | 1<<PUBREC // answers to PUBLISH
	inRelease     types = 1<<PUBREL | 1<<PUBCOMP
	inSubscribe   types = 1 << SUBSCRIBE
	inSuback      types = 1 << SUBACK
	inUnsubscribe types = 1 << UNSUBSCRIBE
	inUnsuback    types = 1 << UNSUBACK
	inDisconnect  types = 1 << DISCONNECT
	inAuth        types = 1 << AUTH
)

// describe is table 2-6 of 5.0: the name of a code and the packets it is for.
func (c ReasonCode) describe() (name string, in types) {
	switch c {
	case Success:
		return "success", inConnack | inReceipt | inRelease | inSuback | inUnsuback | inDisconnect | inAuth
	case GrantedQoS1:
		return "granted QoS 1", inSuback
	case GrantedQoS2:
		return "granted QoS 2", inSuback
	case DisconnectWithWill:
		return "disconnect with will message", inDisconnect
	case NoMatchingSubscribers:
		return "no matching subscribers", inReceipt
	case NoSubscriptionExisted:
		return "no subscription existed", inUnsuback
	case ContinueAuthentication:
		return "continue authentication", inAuth
	case Reauthenticate:
		return "re-authenticate", inAuth
	case UnspecifiedError:
		return "unspecified error", inConnack | inReceipt | inSuback | inUnsuback | inDisconnect
	case MalformedPacket:
		return "malformed packet", inConnack | inDisconnect
	case ProtocolError:
		return "protocol error", inConnack | inDisconnect
	case ImplementationSpecificError:
		return "implementation specific error", inConnack | inReceipt | inSuback | inUnsuback | inDisconnect
	case UnsupportedProtocolVersion:
		return "unsupported protocol version", inConnack
	case ClientIdentifierNotValid:
		return "client identifier not valid", inConnack
	case BadUserNameOrPassword:
		return "bad user name or password", inConnack
	case NotAuthorized:
		return "not authorized", inConnack | inReceipt | inSuback | inUnsuback | inDisconnect
	case ServerUnavailable:
		return "server unavailable", inConnack
	case ServerBusy:
		return "server busy", inConnack | inDisconnect
	case Banned:
		return "banned", inConnack
	case ServerShuttingDown:
		return "server shutting down", inDisconnect
	case BadAuthenticationMethod:
		return "bad authentication method", inConnack | inDisconnect
	case KeepAliveTimeout:
		return "keep alive timeout", inDisconnect
	case SessionTakenOver:
		return "session taken over", inDisconnect
	case TopicFilterInvalid:
		return "topic filter invalid", inSuback | inUnsuback | inDisconnect
	case TopicNameInvalid:
		return "topic name invalid", inConnack | inReceipt | inDisconnect
	case PacketIdentifierInUse:
		return "packet identifier in use", inReceipt | inSuback | inUnsuback
	case PacketIdentifierNotFound:
		return "packet identifier not found", inRelease
	case ReceiveMaximumExceeded:
		return "receive maximum exceeded", inDisconnect
	case TopicAliasInvalid:
		return "topic alias invalid", inDisconnect
	case PacketTooLarge:
		return "packet too large", inConnack | inDisconnect
	case MessageRateTooHigh:
		return "message rate too high", inDisconnect
	case QuotaExceeded:
		return "quota exceeded", inConnack | inReceipt | inSuback | inDisconnect
	case AdministrativeAction:
		return "administrative action", inDisconnect
	case PayloadFormatInvalid:
		return "payload format invalid", inConnack | inReceipt | inDisconnect
	case RetainNotSupported:
		return "retain not supported", inConnack | inDisconnect
	case QoSNotSupported:
		return "QoS not supported", inConnack | inDisconnect
	case UseAnotherServer:
		return "use another server", inConnack | inDisconnect
	case ServerMoved:
		return "server moved", inConnack | inDisconnect
	case SharedSubscriptionsNotSupported:
		return "shared subscriptions not supported", inSuback | inDisconnect
	case ConnectionRateExceeded:
		return "connection rate exceeded", inConnack | inDisconnect
	case MaximumConnectTime:
		return "maximum connect time", inDisconnect
	case SubscriptionIdentifiersNotSupported:
		return "subscription identifiers not supported", inSuback | inDisconnect
	case WildcardSubscriptionsNotSupported:
		return "wildcard subscriptions not supported", inSuback | inDisconnect
	}
	return "", 0
}

// ReturnCode translates the code of a CONNACK to the return code of 3.1 and
// 3.1.1 (v311 section 3.2.2.3). ok is false where these versions have none: the
// server then closes the network connection without a CONNACK.
func (c ReasonCode) ReturnCode() (code byte, ok bool) {
	switch c {
	case Success:
		return 0, true
	case UnsupportedProtocolVersion:
		return 1, true
	case ClientIdentifierNotValid:
		return 2, true
	case ServerUnavailable, ServerBusy, ServerShuttingDown, UseAnotherServer, ServerMoved,
		QuotaExceeded, ConnectionRateExceeded:
		return 3, true
	case BadUserNameOrPassword:
		return 4, true
	case NotAuthorized, Banned, BadAuthenticationMethod:
		return 5, true
	}
	return 0, false
}

// fromReturnCode is the reason code for a return code of 3.1 or 3.1.1.
func fromReturnCode(code byte) (c ReasonCode, ok bool) {
	switch code {
	case 0:
		return Success, true
	case 1:
		return UnsupportedProtocolVersion, true
	case 2:
		return ClientIdentifierNotValid, true
	case 3:
		return ServerUnavailable, true
	case 4:
		return BadUserNameOrPassword, true
	case 5:
		return NotAuthorized, true
	}
	return 0, false
}
