package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/ban"
	"midge/internal/broker"
	"midge/internal/settings"
)

// lookForBansEvery is how soon a change of the file of bans is noticed.
const lookForBansEvery = time.Second

// BansFile is the file of bans, "" if there is none.
func BansFile(s *settings.Settings) string {
	switch {
	case s.Bans.File != "":
		return s.Bans.File
	case s.Durability == "none":
		return ""
	}
	return filepath.Join(s.DataDir, "bans")
}

// bans are who may not connect, as a file has them.
type bans struct {
	name string // "" if there is none
	log  *slog.Logger

	failed atomic.Uint64 // see broker.Counters.BansFailed

	mu   sync.Mutex
	seen stamp // of the text that was read last
	list *ban.List
}

// stamp is of a file: one that has changed has another.
type stamp struct {
	info fs.FileInfo // nil: it is not there
	err  string      // why it can't be looked at, "" if it can
}

func (s stamp) same(o stamp) bool {
	if s.err != o.err || (s.info == nil) != (o.info == nil) {
		return false
	}
	return s.info == nil || os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime())
}

func stampOf(name string) (s stamp) {
	info, err := os.Stat(name)
	switch {
	case err == nil:
		s.info = info
	case !errors.Is(err, fs.ErrNotExist):
		s.err = err.Error()
	}
	return s
}

// openBans reads the file for the first time. What can't be read then is an error.
func openBans(name string, log *slog.Logger) (*bans, error) {
	b := &bans{name: name, log: log}
	if _, err := b.refresh(); err != nil {
		return nil, fmt.Errorf("bans.file: %w", err)
	}
	return b, nil
}

// refresh reads the file if it has changed. err is why it can't be read; then the bans
// before stay in force.
func (b *bans) refresh() (changed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.name == "" {
		return false, nil
	}
	now := stampOf(b.name)
	if now.same(b.seen) {
		return false, nil
	}
	b.seen = now
	if now.info == nil && now.err == "" {
		b.list = nil
		return true, nil
	}
	all, faults, err := ban.Read(b.name)
	if err != nil {
		b.failed.Add(1)
		return false, err
	}
	for _, f := range faults {
		b.log.Warn("a ban was left out", "error", f)
	}
	if len(faults) > 0 {
		b.failed.Add(1)
	}
	b.list = ban.Of(all)
	return true, nil
}

// apply puts in force what was read.
func (b *bans) apply(core *broker.Broker) {
	b.mu.Lock()
	list := b.list
	b.mu.Unlock()
	core.Ban(list)
	b.log.Info("bans in force", "file", b.name, "count", list.Len())
}

// keep has the broker go by the file until ctx is cancelled.
func (b *bans) keep(ctx context.Context, core *broker.Broker) {
	if b.name == "" {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookForBansEvery):
		}
		changed, err := b.refresh()
		if err != nil {
			b.log.Error("the bans were not read again; those before stay in force", "error", err)
		}
		if changed {
			b.apply(core)
		}
	}
}
