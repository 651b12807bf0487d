package bench

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"midge/internal/proc"
)

// destination is a Target's address, taken apart.
type destination struct {
	transport string // tcp, tls, ws or wss
	host      string
	port      uint16
	webSocket string // the URL, for ws and wss
}

func parseAddress(address string) (destination, error) {
	text := address
	if !strings.Contains(text, "://") {
		text = "mqtt://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return destination{}, fmt.Errorf("address %q: want HOST:PORT or a URL such as mqtt://127.0.0.1:1883", address)
	}
	var d destination
	var port string
	switch u.Scheme {
	case "mqtt", "tcp":
		d.transport, port = "tcp", "1883"
	case "mqtts", "tls", "ssl":
		d.transport, port = "tls", "8883"
	case "ws":
		d.transport, port = "ws", "80"
	case "wss":
		d.transport, port = "wss", "443"
	default:
		return d, fmt.Errorf("address %q: %s:// is none of mqtt, mqtts, ws, wss", address, u.Scheme)
	}
	d.host, port = u.Hostname(), cmp.Or(u.Port(), port)
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || d.host == "" {
		return d, fmt.Errorf("address %q: want HOST:PORT or a URL such as mqtt://127.0.0.1:1883", address)
	}
	d.port = uint16(n)
	if d.transport == "ws" || d.transport == "wss" {
		w := url.URL{Scheme: d.transport, Host: net.JoinHostPort(d.host, port), Path: cmp.Or(u.Path, "/mqtt"), RawQuery: u.RawQuery}
		d.webSocket = w.String()
	}
	return d, nil
}

// portsPerSource is how many connections share a source address: well below
// the number of ports, since other programs use some and closed connections
// keep theirs for a minute.
const portsPerSource = 20_000

// sources are the addresses to connect from, of which there must be enough for
// the connections of all workers.
func sources(given []string, peer netip.Addr, connections int) (all []netip.Addr, note string, err error) {
	for _, text := range given {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, "", fmt.Errorf("source address %q: %w", text, err)
		}
		all = append(all, a)
	}
	have := max(1, len(all)) * proc.LocalPorts()
	switch {
	case connections <= have*9/10:
		return all, "", nil
	case len(all) > 0 || !peer.Is4() || !peer.IsLoopback():
		return nil, "", fmt.Errorf("%d connections need more than the %d local ports of %d source addresses: name more with --source, or widen net.ipv4.ip_local_port_range",
			connections, have, max(1, len(all)))
	}
	n := connections/portsPerSource + 1
	if n > 250 {
		return nil, "", fmt.Errorf("%d connections need more source addresses than 127.0.0.0/24 has", connections)
	}
	for i := range n {
		all = append(all, netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)}))
	}
	return all, fmt.Sprintf("connects from %v to %v, since one address has too few ports", all[0], all[n-1]), nil
}

// reserve is how many files a process opens beyond its connections.
const reserve = 50

// maxProcs is how many worker processes may be asked for where fewer would do:
// more than the largest machines have use for.
const maxProcs = 64

// processes is how many workers the limit of open files asks for.
func processes(asked, connections int) (procs int, note string, err error) {
	limit, err := proc.OwnOpenFiles()
	if err != nil {
		return 0, "", err
	}
	room := max(1, limit-reserve)
	need := max(1, (connections+room-1)/room)
	switch {
	case asked < 0 || asked > max(maxProcs, need):
		return 0, "", fmt.Errorf("--procs %d: it can be 1 to %d, or 0 for as many as needed", asked, max(maxProcs, need))
	case asked == 0 && need > 1:
		return need, fmt.Sprintf("%d worker processes, since a process may open %d files and there are %d connections", need, limit, connections), nil
	case asked == 0:
		return 1, "", nil
	case asked < need:
		return 0, "", fmt.Errorf("%d connections in %d processes need more than the %d files that each may open (ulimit -n): take --procs %d, or 0 for as many as needed",
			connections, asked, limit, need)
	}
	return asked, "", nil
}

// checkBroker finds out before the start that a broker on this machine may
// not open as many connections.
func checkBroker(pid, connections int) error {
	if pid == 0 {
		return nil
	}
	limit, err := proc.OpenFiles(pid)
	if err != nil {
		return err
	}
	if connections+10 > limit {
		return fmt.Errorf("process %d, the broker, may open %d files (ulimit -n), which is too low for %d connections", pid, limit, connections)
	}
	return nil
}
