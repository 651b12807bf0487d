package settings

// Bans says where it stands who may not connect.
type Bans struct {
	File string
}

func bans() Section {
	return Section{Name: "bans", Doc: "Who may not connect: see [rate limits and bans](../limits.md).", Settings: []Setting{{
		Key: "bans.file", At: func(c *Settings) any { return &c.Bans.File },
		Default: "", Zero: "`bans` in `data_dir`, or none with `durability = \"none\"`",
		Doc:    "A file of bans, one on a line, which `midge ban` edits: of client identifiers, users and addresses, with an end and a reason. A CONNECT of who is banned is refused with 0x8A (3.1.1: 5), a connection from an address that is banned is closed at once, and clients that are connected are ended. It need not be there. A second after it has changed the broker goes by its new text; a line that can't be read is left out, and the log says which.",
		Reason: "Bans outlive a restart as the sessions do, and a broker that keeps nothing on disk has no place for them.",
	}}}
}
