package settings

import "time"

const (
	maxConnectRate = 1_000_000
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
		},
	}
}
