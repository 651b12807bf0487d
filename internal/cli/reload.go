package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"midge/internal/app"
	"midge/internal/cli/command"
	"midge/internal/config"
)

// reloader reads the configuration of a running broker again, when a signal asks for it, or
// a file or etcd has changed.
type reloader struct {
	world   command.World
	from    file
	flags   []config.Given
	log     *slog.Logger
	running atomic.Pointer[app.Broker]

	mu   sync.Mutex
	last string // what the files said
	etcd config.Etcd
}

// reload reads everything again. What is wrong is logged, and stays as it was.
func (r *reloader) reload() {
	b := r.running.Load()
	if b == nil {
		return // it starts, and reads all of it
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err := b.Reload(func() (*config.Loaded, error) {
		src, made, err := sources(r.world, r.from, r.flags)
		if err != nil {
			return nil, err
		}
		r.last = texts(&src)
		src.Etcd = r.etcd
		return loadFrom(src, made)
	})
	if err := errors.Join(err, b.ReloadAccess(), b.ReloadCertificates()); err != nil {
		r.log.Error("reload: what is wrong stays as it was", "error", err)
		return
	}
	r.log.Info("reloaded: settings, password files, keys of tokens, access lists and certificates")
}

// changed reloads if the files say something else than before. Files that can't be read
// are in the middle of being replaced, or the next reload tells of them.
func (r *reloader) changed() {
	src, _, err := sources(r.world, r.from, r.flags)
	r.mu.Lock()
	same := err == nil && texts(&src) == r.last
	r.mu.Unlock()
	if !same {
		r.reload()
	}
}

// watchEtcd reloads when etcd has something else than at the start, until ctx is cancelled.
func (r *reloader) watchEtcd(ctx context.Context, b *app.Broker, from *everything) {
	select {
	case <-ctx.Done():
		return
	case <-b.Ready():
	}
	from.etcd.Watch(ctx, from.Etcd.Keys, from.away == nil, func(keys []config.EtcdKey) {
		r.mu.Lock()
		r.etcd.Keys = keys
		r.mu.Unlock()
		r.reload()
	}, r.log)
}

// outlive reloads for SIGHUP, and takes note of signals that mean nothing to a broker, until
// ctx is cancelled.
func (r *reloader) outlive(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			if s == syscall.SIGHUP {
				r.reload()
				continue
			}
			r.log.Info("signal ignored", "signal", s.String())
		}
	}
}
