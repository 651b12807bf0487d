package broker

import (
	"midge/internal/packet"
)

// fault returns a fault with the clause of the version that the client speaks.
func fault(v packet.Version, code packet.ReasonCode, id5, id311, detail string) error {
	clause := id5
	if v != packet.V5 {
		clause = id311
	}
	return &packet.Fault{Code: code, Clause: v.String() + "/" + clause, Detail: detail}
}
