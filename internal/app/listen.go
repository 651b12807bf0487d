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
	for number := range b.cfg.Listeners {
		l := &b.cfg.Listeners[number]
		for _, a := range l.Addresses {
			at := engine.Listener{Number: number, Name: l.Name(), Mode: l.Listener.FileMode()}
			if err := b.listen(ctx, &w, l, at, a); err != nil {
				return err
			}
		}
	}
	if err := b.checkPassed(); err != nil {
		return err
	}
	if open := b.open(); len(open) > 0 {
		b.log.Warn("everybody who reaches the broker is let in: allow_anonymous is true, and nobody has to say who he is", "addresses", strings.Join(open, " "))
	}
	return nil
}

// listen opens one address of a listener.
func (b *Broker) listen(ctx context.Context, w *waiter, l *config.Listener, at engine.Listener, a config.Address) error {
	if p := b.takePassed(l, &a); p != nil {
		return b.listenPassed(l, at, a, p)
	}
	if a.SamePort {
		a.Port = portOf(b.listening[len(b.listening)-1].addr)
	}
	open := func() error {
		addr, err := listen(b.network, at, &a)
		if err == nil {
			b.listening = append(b.listening, listening{a.Scheme, addr, l.LetsAnybodyIn()})
		}
		if err == nil && a.Scheme == "unix" {
			var file socketFile
			file, err = claimSocket(a.Path)
			b.socketFiles = append(b.socketFiles, file)
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

// listenPassed goes on with a socket that systemd has opened. It may be another one than
// the configuration has, and so be open to more.
func (b *Broker) listenPassed(l *config.Listener, at engine.Listener, a config.Address, p *passed) error {
	if tcp, ok := p.addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && !l.AllowAnonymous && !l.Asks() {
		return fmt.Errorf("listen on %v, which systemd has passed: other machines could connect, and nobody is asked for a password; set auth.password_file or, if that is meant, write allow_anonymous = true in the file", p)
	}
	at.Network, at.Address, at.Socket = a.Network, a.Target(), p.file
	addr, err := b.network.Listen(at)
	if err != nil {
		return fmt.Errorf("listen on %v, which systemd has passed: %w", p, err)
	}
	b.listening = append(b.listening, listening{a.Scheme, addr, l.LetsAnybodyIn()})
	return nil
}

// removeSockets removes the files of Unix sockets, when nobody listens any more.
func (b *Broker) removeSockets() {
	for _, f := range b.socketFiles {
		if err := f.remove(); err != nil {
			b.log.Warn("the file of a socket is left", "error", err)
		}
	}
}

// listening is an address that is listened on.
type listening struct {
	scheme  string
	addr    net.Addr
	anybody bool // is let in
}

// String is the address with its scheme.
func (l listening) String() string { return l.scheme + "://" + l.addr.String() }

// open returns the addresses by which machines that nobody has let in may connect.
func (b *Broker) open() (open []string) {
	for _, l := range b.listening {
		if tcp, ok := l.addr.(*net.TCPAddr); ok && l.anybody && !tcp.IP.IsLoopback() {
			open = append(open, l.String())
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
