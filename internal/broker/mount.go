package broker

import (
	"errors"
	"fmt"
	"strings"

	"midge/internal/store"
	"midge/internal/topic"
)

// A mount point is a part of the topics that some clients have for themselves. All
// their names and filters begin with it, and they don't see it: it is put in front of
// what they say, and taken off of what they get. Everything within the broker has
// whole names: routes, retained messages, what is queued, and what is on disk.
//
// The client identifier of such a client has the mount point in it, too (see
// store.MountedID), so that clients with different ones never take over each
// other's sessions, and a session that is loaded knows its own.

// maxMount is the largest length of a mount point, in bytes.
const maxMount = 1024

// checkMountPoint finds what is wrong with a mount point.
func checkMountPoint(mount string) error {
	switch {
	case !strings.HasSuffix(mount, "/"):
		return errors.New("it does not end with /")
	case len(mount) > maxMount:
		return fmt.Errorf("it has more than %d bytes", maxMount)
	case sysTopic([]byte(mount)), strings.HasPrefix(mount, "$share/"):
		return errors.New("it begins with $SYS/ or $share/")
	}
	return topic.ValidName([]byte(mount), topic.Limits{})
}

// mountOf is the length of the mount point in a client id.
func mountOf(id string) uint16 {
	mount, _ := store.SplitID(id)
	return uint16(len(mount))
}

// fullName puts a mount point in front of a name. It is good until the next call.
func (s *shard) fullName(mount string, name []byte) []byte {
	s.mounted = append(append(s.mounted[:0], mount...), name...)
	return s.mounted
}
