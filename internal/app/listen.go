package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"midge/internal/config"
	"midge/internal/engine"
)

const (
	// An address that is not there is tried again after this long, then after
	// twice as long, up to the most.
	firstListenPause = 100 * time.Millisecond
	maxListenPause   = 5 * time.Second
)

// listenAll opens the listeners. It waits for addresses that are not there yet
// as long as the configuration says, or until ctx is cancelled.
func (b *Broker) listenAll(ctx context.Context) error {
	w := waiter{until: time.Now().Add(b.cfg.ListenWait), log: b.log}
	for _, l := range b.listeners {
		for _, a := range l.Addresses {
			if err := b.listen(ctx, &w, l, a); err != nil {
				return err
			}
		}
	}
	if err := b.checkPassed(); err != nil {
		return err
	}
	b.warnOpen(b.listening)
	return nil
}

// warnOpen says which sockets are open to everybody.
func (b *Broker) warnOpen(all []listening) {
	if open := openTo(all); len(open) > 0 {
		b.log.Warn("everybody who reaches the broker is let in: allow_anonymous is true, and nobody has to say who he is", "addresses", strings.Join(open, " "))
	}
}

// listen opens one address of a listener, when it is there.
func (b *Broker) listen(ctx context.Context, w *waiter, l *listener, a config.Address) error {
	open := func() error {
		s, err := b.open(l, a, b.listening)
		if err == nil {
			b.listening = append(b.listening, s)
		}
		return err
	}
	err := open()
	switch {
	case err == nil:
		return nil
	case a.SamePort && notThere(err):
		b.log.Debug("this machine has no IPv6", "address", a.String())
		return nil
	case notThere(err):
		err = w.wait(ctx, &a, err, open)
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %s", a.String(), listenCause(&a, err))
	}
	return nil
}

// listening is a socket that is listened on.
type listening struct {
	listener *listener
	asked    config.Address // in the configuration
	addr     net.Addr
	passed   *passed    // by systemd, which opened it; nil: we did
	file     socketFile // of a Unix socket that we opened
}

// String is the address with its scheme.
func (s listening) String() string { return s.asked.Scheme + "://" + s.addr.String() }

// open opens an address of a listener. Those before it are open: a second address may have
// the port of the first.
func (b *Broker) open(l *listener, a config.Address, before []listening) (s listening, err error) {
	s = listening{listener: l, asked: a}
	if s.passed = b.takePassed(l.Listener, &a); s.passed != nil {
		s.addr, err = b.listenPassed(l, &a, s.passed)
		return s, err
	}
	if a.SamePort {
		a.Port = portOf(before[len(before)-1].addr)
	}
	if s.addr, err = listen(b.network, l.at(), &a); err == nil && a.Scheme == "unix" {
		s.file, err = claimSocket(a.Path)
	}
	return s, err
}

// listenPassed goes on with a socket that systemd has opened. It may be another one than
// the configuration has, and so be open to more.
func (b *Broker) listenPassed(l *listener, a *config.Address, p *passed) (net.Addr, error) {
	if tcp, ok := p.addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && !l.AllowAnonymous && !l.Asks() {
		return nil, fmt.Errorf("systemd has passed %v: other machines could connect, and nobody is asked for a password; set auth.password_file or, if that is meant, write allow_anonymous = true in the file", p)
	}
	at := l.at()
	at.Network, at.Address, at.Socket = a.Network, a.Target(), p.file
	addr, err := b.network.Listen(at)
	if err != nil {
		return nil, fmt.Errorf("systemd has passed %v: %w", p, err)
	}
	return addr, nil
}

// close closes a socket. Its connections stay.
func (b *Broker) close(s *listening) {
	if err := b.network.Unlisten(s.addr); err != nil {
		b.log.Warn("a listener was not closed in order", "address", s.String(), "error", err)
	}
	b.release(s)
}

// release gives up what belongs to a socket that is closed.
func (b *Broker) release(s *listening) {
	if s.passed != nil {
		s.passed.used = false
		return
	}
	if err := s.file.remove(); err != nil {
		b.log.Warn("the file of a socket is left", "error", err)
	}
}

// removeSockets removes the files of Unix sockets, when nobody listens any more.
func (b *Broker) removeSockets() {
	for i := range b.listening {
		b.release(&b.listening[i])
	}
	if err := closePassed(b.passed); err != nil {
		b.log.Warn("a socket that systemd has passed was not closed", "error", err)
	}
}

// openTo returns the addresses among some by which machines that nobody has let in may
// connect.
func openTo(all []listening) (open []string) {
	for _, s := range all {
		if tcp, ok := s.addr.(*net.TCPAddr); ok && s.listener.LetsAnybodyIn() && !tcp.IP.IsLoopback() {
			open = append(open, s.String())
		}
	}
	return open
}

func portOf(a net.Addr) string { return strconv.Itoa(a.(*net.TCPAddr).Port) }

// waiter waits for addresses.
type waiter struct {
	until time.Time
	log   *slog.Logger
}

// wait calls open until it has opened the listener, its error is another one
// than that the address is not there, or the time is over. err is the first
// one.
func (w *waiter) wait(ctx context.Context, a *config.Address, err error, open func() error) error {
	began := time.Now()
	if left := w.until.Sub(began); left > 0 {
		w.log.Warn("waiting for an address to listen on", "address", a.String(), "error", err, "within", left.Round(time.Millisecond))
	}
	for pause := firstListenPause; err != nil && notThere(err); pause = min(2*pause, maxListenPause) {
		left := time.Until(w.until)
		if left <= 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(min(pause, left)):
		}
		err = open()
	}
	if err == nil {
		w.log.Info("the address is there", "address", a.String(), "after", time.Since(began).Round(time.Millisecond))
	}
	return err
}

// errNoInterface is the error of an address of an interface that is not there.
var errNoInterface = errors.New("this machine has no such network interface")

// listen opens an address of a listener.
func listen(n network, at engine.Listener, a *config.Address) (net.Addr, error) {
	if ip, err := netip.ParseAddr(a.Host); err == nil && ip.Zone() != "" {
		if _, err := net.InterfaceByName(ip.Zone()); err != nil {
			return nil, fmt.Errorf("%w: %s", errNoInterface, ip.Zone())
		}
	}
	at.Network, at.Address = a.Network, a.Target()
	if a.Scheme == "unix" {
		if err := clearSocket(a.Path); err != nil {
			return nil, err
		}
	}
	return n.Listen(at)
}

// notThere reports whether an address may come later: the network of a machine is
// often not up yet when its programs start.
func notThere(err error) bool {
	_, name := errors.AsType[*net.DNSError](err)
	return name || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, errNoInterface)
}

// listenCause turns the error of a listener into what to do about it.
func listenCause(a *config.Address, err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && a.Scheme == "unix":
		return "another process, perhaps another broker, listens there already ('ss -lxp' shows which); stop it, or choose another path"
	case errors.Is(err, fs.ErrPermission) && a.Scheme == "unix":
		return "not allowed to make a socket in that directory"
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("another process, perhaps another broker, uses port %s already ('ss -ltnp sport = :%s' shows which); stop it, or choose another port with --listen", a.Port, a.Port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address ('ip address' shows those that it has); listen_wait says how long to wait for one"
	case errors.Is(err, syscall.EACCES), errors.Is(err, fs.ErrPermission):
		return "not allowed; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
	}
	return err.Error()
}
