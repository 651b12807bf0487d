package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
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
	for _, l := range b.cfg.Listeners() {
		if l.SamePort {
			l.Port = portOf(b.addresses[len(b.addresses)-1])
		}
		open := func() (err error) {
			a, err := listen(b.network, &l)
			if err == nil {
				b.addresses = append(b.addresses, a)
			}
			return err
		}
		err := open()
		switch {
		case err == nil:
			continue
		case l.SamePort && notThere(err):
			b.log.Debug("this machine has no IPv6", "address", "tcp://"+l.Address())
			continue
		case notThere(err):
			err = w.wait(ctx, &l, err, open)
		}
		if err != nil {
			return fmt.Errorf("listen on tcp://%s: %s", l.Address(), listenCause(&l, err))
		}
	}
	if b.open() {
		b.log.Warn("everybody who reaches the broker is let in: allow_anonymous is true, and nobody is asked for a password", "addresses", fmt.Sprint(b.addresses))
	}
	return nil
}

// open reports whether machines that nobody has let in may connect.
func (b *Broker) open() bool {
	return slices.ContainsFunc(b.addresses, func(a net.Addr) bool { return !a.(*net.TCPAddr).IP.IsLoopback() })
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
func (w *waiter) wait(ctx context.Context, l *config.Listener, err error, open func() error) error {
	began := time.Now()
	if left := w.until.Sub(began); left > 0 {
		w.log.Warn("waiting for an address to listen on", "address", "tcp://"+l.Address(), "error", err, "within", left.Round(time.Millisecond))
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
		w.log.Info("the address is there", "address", "tcp://"+l.Address(), "after", time.Since(began).Round(time.Millisecond))
	}
	return err
}

// errNoInterface is the error of an address of an interface that is not there.
var errNoInterface = errors.New("this machine has no such network interface")

// listen opens a listener.
func listen(n network, l *config.Listener) (net.Addr, error) {
	if ip, err := netip.ParseAddr(l.Host); err == nil && ip.Zone() != "" {
		if _, err := net.InterfaceByName(ip.Zone()); err != nil {
			return nil, fmt.Errorf("%w: %s", errNoInterface, ip.Zone())
		}
	}
	return n.Listen(engine.Listener{Number: l.Number, Network: l.Network, Address: l.Address()})
}

// notThere reports whether an address may come later: the network of a machine is
// often not up yet when its programs start.
func notThere(err error) bool {
	_, name := errors.AsType[*net.DNSError](err)
	return name || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, errNoInterface)
}

// listenCause turns the error of a listener into what to do about it.
func listenCause(l *config.Listener, err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("another process, perhaps another broker, uses port %s already ('ss -ltnp sport = :%s' shows which); stop it, or choose another port with --listen", l.Port, l.Port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address ('ip address' shows those that it has); listen_wait says how long to wait for one"
	case errors.Is(err, syscall.EACCES), errors.Is(err, fs.ErrPermission):
		return "not allowed; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
	}
	return err.Error()
}
