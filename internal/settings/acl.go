package settings

// ACL says what clients may do.
type ACL struct {
	File           string
	RefusedPublish string
}

// What ACL.RefusedPublish may be.
const (
	Acknowledge = "acknowledge"
	Disconnect  = "disconnect"
)

func accessList() Section {
	return Section{Name: "acl", Doc: "What clients may do: see [access control](../access-control.md).", Settings: []Setting{
		{
			Key: "acl.file", At: func(c *Settings) any { return &c.ACL.File },
			Default: "", PerListener: true, Zero: "everybody who may connect may do everything",
			Doc:    "A file of rules about who may publish and subscribe to what: in Midge's own form, or an `acl_file` of Mosquitto. With a file, what no rule allows is denied. It is read again while the broker runs; a file with a mistake is not taken, and the rules before it stay.",
			Reason: "Rules are about topics, which only you know.",
			Change: listed,
		}, {
			Key: "acl.refused_publish", At: func(c *Settings) any { return &c.ACL.RefusedPublish },
			Default: Acknowledge, Words: []string{Acknowledge, Disconnect},
			Doc:    "What becomes of a PUBLISH with 3.1 or 3.1.1 that the client has no right to. These versions have no word for it: `acknowledge` answers as if it were published, `disconnect` ends the connection. With 5.0 it is answered with 0x87, and with QoS 0 dropped.",
			Reason: "The client of a session that is ended comes back with the same message, again and again.",
			Change: forMessage,
		},
	}}
}
