package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"midge/internal/config"
	"midge/internal/tlsconfig"
)

// turnover is the way from the configuration in force to another one. It is prepared as a
// whole, which changes nothing, and then carried out or undone.
type turnover struct {
	b   *Broker
	cfg *config.Loaded

	access    *access
	listeners []*listener // with those that are gone and have connections
	tls       map[*tlsconfig.Config]*tlsconfig.Next
	fronts    *fronts

	sockets []listening // that there will be
	opened  []listening // of these, which are new
	closing []listening // that go
	closed  []listening // of these, which had to go first, to make room
}

// prepareTurnover does all that may fail: it reads files and opens sockets, whose clients the
// kernel keeps waiting. If anything is wrong nothing is left of it.
func (b *Broker) prepareTurnover(cfg *config.Loaded) (*turnover, error) {
	t := &turnover{b: b, cfg: cfg, tls: map[*tlsconfig.Config]*tlsconfig.Next{}}
	var err error
	if t.access, err = b.access.next(cfg, b.log); err != nil {
		return nil, err
	}
	if err = t.matchListeners(); err == nil {
		t.fronts, err = frontsOf(t.listeners)
	}
	if err == nil {
		err = t.matchSockets()
	}
	if err != nil {
		t.undo()
		return nil, err
	}
	return t, nil
}

// matchListeners finds out which listeners stay.
func (t *turnover) matchListeners() error {
	b := t.b
	stays := map[*listener]bool{}
	var added []*config.Listener
	for i := range t.cfg.Listeners {
		c := &t.cfg.Listeners[i]
		at := slices.IndexFunc(b.listeners, func(l *listener) bool { return l.fits(c) })
		if at < 0 {
			added = append(added, c)
			continue
		}
		l := b.listeners[at]
		stays[l] = true
		t.listeners = append(t.listeners, &listener{Listener: c, number: l.number, tls: l.tls})
		if l.tls == nil {
			continue
		}
		next, err := l.tls.Prepare(&c.TLS, l.alpn())
		if err != nil {
			return fmt.Errorf("listen on %s: %w", c.Listener.Address, err)
		}
		t.tls[l.tls] = next
	}
	for _, l := range b.listeners { // whose sockets may still accept somebody until the end of all this
		if !stays[l] && (!l.gone || b.network.Connections(l.number) > 0) {
			t.listeners = append(t.listeners, &listener{Listener: l.Listener, number: l.number, tls: l.tls, gone: true})
		}
	}
	for _, c := range added {
		number, err := freeNumber(b.network, t.listeners)
		if err != nil {
			return err
		}
		l, err := newListener(c, number)
		if err != nil {
			return err
		}
		t.listeners = append(t.listeners, l)
	}
	t.access.keep(t.listeners)
	return nil
}

// matchSockets finds out which sockets stay, perhaps with another listener, and opens the
// others.
func (t *turnover) matchSockets() error {
	type place struct {
		l *listener
		a config.Address
	}
	var missing []place
	t.closing = slices.Clone(t.b.listening)
	for _, own := range []bool{true, false} { // a listener gets its own sockets before another's
		wanted := missing
		if missing = nil; own {
			for _, l := range t.current() {
				for _, a := range l.Addresses {
					wanted = append(wanted, place{l, a})
				}
			}
		}
		for _, p := range wanted {
			i := slices.IndexFunc(t.closing, func(s listening) bool {
				return s.takesTo(p.l, &p.a) && (!own || s.listener.number == p.l.number)
			})
			if i < 0 {
				missing = append(missing, p)
				continue
			}
			s := t.closing[i]
			s.listener, s.asked = p.l, p.a
			t.sockets = append(t.sockets, s)
			t.closing = slices.Delete(t.closing, i, i+1)
		}
	}
	for _, p := range missing {
		if err := t.open(p.l, p.a); err != nil {
			return err
		}
	}
	return nil
}

// current are the listeners that are not gone.
func (t *turnover) current() (all []*listener) {
	for _, l := range t.listeners {
		if !l.gone {
			all = append(all, l)
		}
	}
	return all
}

// takesTo reports whether a socket is what a listener needs for an address.
func (s *listening) takesTo(l *listener, a *config.Address) bool {
	if s.passed != nil {
		return s.passed.name == l.Name() || isAt(s.passed.addr, a)
	}
	return s.asked.Network == a.Network && s.asked.Target() == a.Target()
}

// open opens an address. If another of our own sockets is in the way that goes
// anyway, it goes first.
func (t *turnover) open(l *listener, a config.Address) error {
	var before []listening // of the same listener
	for _, s := range t.sockets {
		if s.listener == l {
			before = append(before, s)
		}
	}
	if a.SamePort && len(before) == 0 {
		return fmt.Errorf("listen on %s: the first address of the name is missing", a.String())
	}
	s, err := t.b.open(l, a, before)
	if errors.Is(err, syscall.EADDRINUSE) && t.makeRoom(&a) {
		s, err = t.b.open(l, a, before)
	}
	switch {
	case err == nil:
		t.sockets, t.opened = append(t.sockets, s), append(t.opened, s)
	case a.SamePort && notThere(err):
		t.b.log.Debug("this machine has no IPv6", "address", a.String())
	default:
		return fmt.Errorf("listen on %s: %s", a.String(), listenCause(&a, err))
	}
	return nil
}

// makeRoom closes sockets with the port of an address that go anyway. It reports whether
// there were any.
func (t *turnover) makeRoom(a *config.Address) (any bool) {
	t.closing = slices.DeleteFunc(t.closing, func(s listening) bool {
		tcp, ok := s.addr.(*net.TCPAddr)
		if !ok || s.passed != nil || portOf(tcp) != a.Port {
			return false
		}
		t.b.close(&s)
		t.closed, any = append(t.closed, s), true
		return true
	})
	return any
}

// undo takes back what was prepared.
func (t *turnover) undo() {
	t.access.close(t.b.access)
	for i := range t.opened {
		t.b.close(&t.opened[i])
	}
	for _, s := range t.closed {
		at := s.listener.at()
		at.Network, at.Address = s.asked.Network, s.addr.String()
		_, err := t.b.network.Listen(at)
		if err == nil {
			err = t.b.network.Accept(s.addr, at)
		}
		if err != nil {
			t.b.log.Error("a listener could not be opened again", "address", s.String(), "error", err)
		}
	}
}

// carryOut puts the configuration in force: first what holds for connections, so that those that
// wait at new sockets find all of it.
func (t *turnover) carryOut(connections int) {
	b := t.b
	b.followLayers(t.listeners)
	b.fronts.Store(t.fronts)
	for c, next := range t.tls {
		c.Use(next)
	}
	b.listeners = t.listeners
	b.core.Apply(b.coreSettings(t.cfg, connections))
	b.followAccess(t.access)
	for i := range t.sockets {
		s := &t.sockets[i]
		if err := b.network.Accept(s.addr, s.listener.at()); err != nil {
			b.log.Error("a listener accepts nobody", "address", s.String(), "error", err)
		}
		if s.asked.Scheme == "unix" && s.passed == nil && s.asked.Path[0] != '@' {
			if err := os.Chmod(s.asked.Path, s.listener.Listener.Listener.FileMode().Perm()); err != nil {
				b.log.Warn("the file of a socket keeps its mode", "error", err)
			}
		}
	}
	for i := range t.closing {
		b.close(&t.closing[i])
	}
	if len(t.tls) > 0 { // their lists may be others
		b.core.Review()
	}
	for _, s := range append(t.closed, t.closing...) {
		b.log.Info("listener closed", "address", s.String(), "listener", s.listener.Name(), "connections_that_stay", b.network.Connections(s.listener.number))
		if s.passed != nil {
			b.log.Warn("systemd listens there still, and clients that connect wait", "address", s.String())
		}
	}
	for _, s := range t.opened {
		b.log.Info("listener opened", "address", s.String(), "listener", s.listener.Name())
	}
	b.listening = t.sockets
	b.warnOpen(t.opened)
}
