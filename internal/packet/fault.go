package packet

import "fmt"

// Fault is a violation of the standard by the peer. It ends the network
// connection. *Fault is an error.
type Fault struct {
	Code   ReasonCode // to answer with, in CONNACK or DISCONNECT
	Clause string     // "v5/MQTT-3.3.2-8", or a section where there is no numbered statement: "v31/3.8"
	Detail string     // for the operator; without payloads and passwords
}

// Error returns detail, reason code and clause.
func (f *Fault) Error() string {
	return fmt.Sprintf("%s (reason 0x%02x, %s)", f.Detail, uint8(f.Code), f.Clause)
}

// newFault returns a *Fault with the clause of version v: statement or section
// id5 or id311, and where that is empty, or the version is 3.1, the section
// about packet type t. The three standards number the packet types alike.
func newFault(v Version, t Type, code ReasonCode, id5, id311, detail string) error {
	clause := id5
	switch v {
	case V31:
		clause = ""
	case V311:
		clause = id311
	}
	if clause == "" && t == 0 {
		clause = "2.1"
	} else if clause == "" {
		clause = fmt.Sprintf("3.%d", uint8(t))
	}
	return &Fault{Code: code, Clause: v.String() + "/" + clause, Detail: detail}
}
