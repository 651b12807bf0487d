package settings

import "time"

const (
	maxConnectRate = 1_000_000
	maxMessageRate = 10_000_000
	maxByteRate    = 10 << 30

	rateChange = "for everybody at once; who waits for longer than the new limit asks goes on"
)

// rates are the limits of how often something happens.
func rates() []Setting {
	return []Setting{
		{
			Key: "limits.connect_rate", At: func(c *Settings) any { return &c.Limits.ConnectRate },
			Default: 0, Max: maxConnectRate, PerListener: true, Zero: "no limit",
			Doc:    "Network connections a second, those of `limits.connect_burst` at once. One more is closed at once, without an answer: before TLS has begun. In a `[[listener]]` it is that of its connections, which count in all, too.",
			Reason: "After a restart of the broker all clients come back at once, and the sooner they are in the better; a connection that is refused comes again. Set it, on TLS above all, to what the processors do beside their other work.",
			Change: "for connections from then on",
		}, {
			Key: "limits.connect_rate_per_ip", At: func(c *Settings) any { return &c.Limits.ConnectRatePerIP },
			Default: 0, Max: maxConnectRate, PerListener: true, Zero: "no limit",
			Doc:    "Network connections a second from one IP address (of IPv6: from a network of 64 bits), those of `limits.connect_burst` at once. One more is closed at once, as with `limits.connect_rate`. 65,536 addresses are remembered, of which those are forgotten first that have used least. A `[[listener]]` with its own counts its connections by themselves.",
			Reason: "A gateway, a load balancer or a provider's NAT has all its devices behind one address, and they come back together. Where devices connect directly, 5 is plenty; behind a NAT, a tenth of the devices, so that the burst lets all of them in.",
			Change: "for connections from then on",
		}, {
			Key: "limits.connect_burst", At: func(c *Settings) any { return &c.Limits.ConnectBurst },
			Default: 10 * time.Second, Min: int64(time.Millisecond), Max: int64(time.Hour),
			Doc:    "As many connections as come in that time may come at once, one at least, when fewer came before: see `limits.connect_rate` and `limits.connect_rate_per_ip`.",
			Reason: "Devices come in crowds, when a router has restarted; an attack lasts longer than ten seconds.",
			Change: "for connections from then on",
		}, {
			Key: "limits.reconnects", At: func(c *Settings) any { return &c.Limits.Reconnects },
			Default: 0, Max: 1_000_000, Zero: "as many as they like",
			Doc:    "CONNECT packets with one client identifier from one address (of IPv6: from a network of 64 bits) that are answered at once. The next ones wait, until one is given back: one is each `limits.reconnect_interval`. Who would wait for longer than 3.2 seconds is refused with 0x9F (3.1.1: 3). Each shard remembers 16,384 of them, of which those are forgotten first that have used least.",
			Reason: "Scripts publish with one identifier as fast as they can, and harm nobody on a network of one's own. Where devices come from everywhere, 10 holds off one that fails after each connect.",
			Change: "for clients that connect from then on",
		}, {
			Key: "limits.reconnect_interval", At: func(c *Settings) any { return &c.Limits.ReconnectInterval },
			Default: time.Second, Min: int64(time.Millisecond), Max: int64(24 * time.Hour),
			Doc:    "The time after which a CONNECT is given back: see `limits.reconnects`.",
			Reason: "Clients that wait before they come again, as they should, wait for a second at least.",
			Change: "for clients that connect from then on",
		}, {
			Key: "limits.message_rate", At: func(c *Settings) any { return &c.Limits.MessageRate },
			Default: 0, Max: maxMessageRate, PerListener: true, Zero: "no limit",
			Doc:    "PUBLISH, SUBSCRIBE and UNSUBSCRIBE packets a second from one client, a second's worth of them at once. A client that sends more is slowed down: its connection is not read until the next one is within the limit. Nothing is lost, of QoS 0 neither, and its Keep Alive does not end it meanwhile; what is sent to it goes on. Other packets don't count and don't wait, unless such a one comes before them.",
			Reason: "What is too much depends on what your devices do.",
			Change: rateChange,
		}, {
			Key: "limits.byte_rate", At: func(c *Settings) any { return &c.Limits.ByteRate },
			Default: Size(0), Min: 1 << 10, Max: maxByteRate, PerListener: true, Zero: "no limit",
			Doc:    "Bytes of those packets a second from one client, a second's worth of them at once. A packet that is larger passes as a whole, and the next one waits for longer: so a client may wait for `limits.packet_size` divided by this, which should be less than its Keep Alive, for it gets no answers to its pings.",
			Reason: "As `limits.message_rate`.",
			Change: rateChange,
		},
	}
}
