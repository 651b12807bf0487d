package broker

import (
	"bytes"
	"errors"
	"math"

	"midge/internal/packet"
	"midge/internal/topic"
)

// sysTopic reports whether a name is one of the broker's own.
func sysTopic(name []byte) bool {
	return len(name) >= 4 && string(name[:4]) == "$SYS" && (len(name) == 4 || name[4] == '/')
}

// reserved reports whether a client must not publish to a name because it is one
// of the broker's own. Where bridges of Mosquitto say whether they are
// connected is theirs: $SYS/broker/connection/<client id>/state.
func reserved(name []byte, clientID string) bool {
	return sysTopic(name) && string(name) != connectionPrefix+clientID+"/state"
}

// ownTopic reports whether messages of a name are the broker's.
func ownTopic(name []byte) bool {
	return sysTopic(name) && !bytes.HasPrefix(name, []byte(connectionPrefix))
}

// checkName finds what is wrong with a topic name for every client. Names that
// begin as the filters of shared subscriptions do would reach nobody: whoever
// subscribes to one gets other messages (MQTT 5.0 section 4.8.2).
func (s *shard) checkName(name []byte) error {
	if bytes.HasPrefix(name, []byte("$share/")) {
		return errors.New("$share/ begins the filters of shared subscriptions")
	}
	return topic.ValidName(name, s.settings.topics)
}

// fits reports whether a name, or the filter of a subscription, is not too long behind
// a mount point (MQTT-4.7.3-3).
func fits(mount, bytes int) bool { return mount+bytes <= math.MaxUint16 }

// checkTopic reports whether a client may publish to a topic at all
// (MQTT-4.7.0-1). name is as the client writes it.
func (s *shard) checkTopic(name []byte, cl *client) packet.ReasonCode {
	if err := s.checkName(name); err != nil || !fits(cl.Mount(), len(name)) {
		s.count.RefusedTopics++
		return packet.TopicNameInvalid
	}
	if reserved(name, cl.clientID()) {
		s.count.RefusedAccess++
		return packet.NotAuthorized
	}
	return packet.Success
}
