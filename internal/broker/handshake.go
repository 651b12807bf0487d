package broker

// handshakes are the connections of a shard before CONNACK.
type handshakes struct {
	open    map[*conn]bool        // before CONNECT was accepted; true: what it counts for by its address is open, see placeAddress
	crowd   int                   // maximum of open since it was made
	waiting map[*conn]*connecting // those whose CONNECT was read and waits
	current connecting            // by s.packets.connect
}

func (h *handshakes) init() {
	h.open, h.waiting = map[*conn]bool{}, map[*conn]*connecting{}
}

// accepted takes a connection out of those before CONNECT. After a storm it gives
// back the memory that so many of them took.
func (h *handshakes) accepted(c *conn) {
	delete(h.open, c)
	if h.crowd = max(h.crowd, len(h.open)); len(h.open) == 0 && h.crowd > 64 {
		h.open, h.crowd = map[*conn]bool{}, 0
	}
}

// forget forgets a connection, wherever it stands.
func (h *handshakes) forget(c *conn) {
	if j := h.waiting[c]; j != nil && j.question != nil {
		j.question.gone.Store(true)
	}
	delete(h.open, c)
	delete(h.waiting, c)
}
