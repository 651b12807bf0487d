package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"midge/internal/config"
)

// firstPassed is the first descriptor that systemd passes (sd_listen_fds(3)).
const firstPassed = 3

// maxPassed is the most that are looked at. No unit has so many.
const maxPassed = 256

// passed is a socket that systemd listens on, for this process to go on with.
type passed struct {
	name string // FileDescriptorName= of the unit; by default the unit's own
	addr net.Addr
	file *os.File
	used bool
}

// String names the socket for messages.
func (p *passed) String() string { return fmt.Sprintf("%s (%v)", p.name, p.addr) }

// passedSockets returns the sockets that systemd has passed to this process. They are
// described by variables, which variable returns, and begin at a descriptor.
func passedSockets(variable func(string) string, first int) (all []*passed, err error) {
	pid, err := strconv.Atoi(variable("LISTEN_PID"))
	if err != nil || pid != os.Getpid() {
		return nil, nil // for nobody, or for a parent
	}
	n, err := strconv.Atoi(variable("LISTEN_FDS"))
	if err != nil || n < 0 || n > maxPassed {
		return nil, fmt.Errorf("LISTEN_FDS is %q, which is no number of sockets", variable("LISTEN_FDS"))
	}
	names := strings.Split(variable("LISTEN_FDNAMES"), ":")
	for i := range n {
		name := "unknown"
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		f := os.NewFile(uintptr(first+i), name)
		l, err := net.FileListener(f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("socket %s, which systemd has passed: %w; midge takes sockets that listen (ListenStream=)", name, err), closePassed(all), f.Close())
		}
		all = append(all, &passed{name: name, addr: l.Addr(), file: f})
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		l.Close() // a copy
	}
	return all, nil
}

func closePassed(all []*passed) (err error) {
	for _, p := range all {
		err = errors.Join(err, p.file.Close())
	}
	return err
}

// takePassed returns a socket for an address of a listener, nil if none was passed: one that
// has the listener's name, or the address.
func (b *Broker) takePassed(l *config.Listener, a *config.Address) *passed {
	i := slices.IndexFunc(b.passed, func(p *passed) bool { return !p.used && p.name == l.Name() })
	if i < 0 {
		i = slices.IndexFunc(b.passed, func(p *passed) bool { return !p.used && isAt(p.addr, a) })
	}
	if i < 0 {
		return nil
	}
	b.passed[i].used = true
	return b.passed[i]
}

// isAt reports whether a socket is what an address of the configuration asks for.
func isAt(addr net.Addr, a *config.Address) bool {
	switch addr := addr.(type) {
	case *net.UnixAddr:
		return a.Scheme == "unix" && addr.Name == a.Path
	case *net.TCPAddr:
		if a.Scheme == "unix" || a.Port == "0" || a.Port != strconv.Itoa(addr.Port) {
			return false
		}
		want, err := netip.ParseAddr(a.Host)
		ip, _ := netip.AddrFromSlice(addr.IP)
		return ip.IsUnspecified() && (a.Host == "" || err == nil && want.IsUnspecified()) || err == nil && want.Unmap() == ip.Unmap()
	}
	return false
}

// checkPassed refuses sockets that nobody has a use for: their clients would wait for
// ever.
func (b *Broker) checkPassed() error {
	var left []string
	for _, p := range b.passed {
		if !p.used {
			left = append(left, p.String())
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("systemd has passed %s, and no listener has that name (FileDescriptorName=) or that address", strings.Join(left, ", "))
	}
	return nil
}
