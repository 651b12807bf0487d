package broker

import "testing"

// TestHandshakes proves that connections before CONNECT are forgotten, wherever
// they stand, and that the memory of a storm is given back.
func TestHandshakes(t *testing.T) {
	var h handshakes
	h.init()
	all := make([]conn, 100)
	for i := range all {
		h.open[&all[i]] = false
		h.waiting[&all[i]] = &connecting{c: &all[i]}
	}
	for i := range all {
		if i%2 == 0 {
			h.accepted(&all[i])
			delete(h.waiting, &all[i])
		} else {
			h.forget(&all[i])
		}
	}
	if len(h.open)+len(h.waiting) > 0 {
		t.Errorf("%d connections are left, %d wait", len(h.open), len(h.waiting))
	}
	h.open[&all[0]] = false
	if h.accepted(&all[0]); h.crowd != 0 {
		t.Errorf("the memory of %d connections is kept", h.crowd)
	}
}
