package topic

// SeenBelow reports whether a name that a filter matches is one that a client sees
// whose names and filters begin with a mount point of so many bytes, which ends with
// a slash. "t/#" matches "t", which is outside, and "t/", which would be a name without
// a character; and it matches "t/$x", while "#" does not match "$x" (MQTT-4.7.2-1).
func SeenBelow(mount int, filter string, name []byte) bool {
	if len(name) <= mount {
		return false
	}
	return name[mount] != '$' || filter[mount] != '+' && filter[mount] != '#'
}
