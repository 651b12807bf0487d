package app

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"midge/internal/broker"
	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/tlslayer"
	"midge/internal/tlsconfig"
)

// recordsShare of limits.memory (one part in so many) may be unfinished records, as long as
// they take.
const recordsShare = 10

// secure puts TLS between the engine and the shards.
func secure(shards []engine.Shard, buffers *bufpool.Pool, by func(listener int) *tlsconfig.Config, budget int64, log *slog.Logger) layered {
	byListener := func(listener int) *tls.Config {
		if c := by(listener); c != nil {
			return c.TLS()
		}
		return nil
	}
	compact := func(listener int) bool { c := by(listener); return c != nil && c.Compact() }
	l := tlslayer.New(shards, buffers, tlslayer.Config{TLS: byListener, Compact: compact, Unfinished: budget / recordsShare, Log: log})
	return layered{l.Shards(), l.Start, l.Decorate, func(c *broker.Counters) {
		from := l.Counters()
		c.TLSHandshakes += from.Done.Load()
		c.TLSResumed += from.Resumed.Load()
		c.TLSCompact += from.Compact.Load()
		c.ClosedArrivals += from.Unfinished.Load()
		c.TLSWaiting += uint64(max(from.Waiting.Load(), 0))
		failed := map[*uint64][]tlslayer.Reason{
			&c.TLSNotTLS:      {tlslayer.PlainMQTT, tlslayer.PlainHTTP, tlslayer.NotTLS},
			&c.TLSParameters:  {tlslayer.Version, tlslayer.Parameters},
			&c.TLSCertificate: {tlslayer.NoCertify, tlslayer.Certificate},
			&c.TLSByClient:    {tlslayer.RefusedByPeer},
			&c.TLSGone:        {tlslayer.Gone},
			&c.TLSLate:        {tlslayer.Late, tlslayer.Displaced},
			&c.TLSOther:       {tlslayer.Other},
		}
		for to, reasons := range failed {
			for _, r := range reasons {
				*to += from.Failed[r].Load()
			}
		}
	}}
}

const (
	// refreshEvery is how often the files of certificates are looked at.
	refreshEvery = 10 * time.Second

	// warnEvery is how often it is looked which certificates end soon.
	warnEvery = time.Hour
)

// keepCertificates keeps the certificates in step with their files, until ctx is cancelled.
func (b *Broker) keepCertificates(ctx context.Context) {
	var warned time.Time
	for {
		changed, err := b.refreshCertificates()
		if err != nil {
			b.log.Error("certificates were not read again", "error", err)
		}
		if now := time.Now(); changed || now.Sub(warned) >= warnEvery {
			warned = now
			for _, c := range b.certificates() {
				c.Warn(now, b.log)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(refreshEvery):
		}
	}
}

// certificates are those of all listeners, with those that are gone.
func (b *Broker) certificates() (all []*tlsconfig.Config) {
	for _, c := range b.fronts.Load().tls {
		all = append(all, c)
	}
	return all
}

// refreshCertificates reads the files that have changed again.
func (b *Broker) refreshCertificates() (any bool, err error) {
	for _, c := range b.certificates() {
		changed, broken := c.Refresh()
		if any = any || changed; changed {
			b.log.Info("certificates were read again", "listener", c.Name())
		}
		if broken != nil {
			b.core.CountBrokenFiles()
			err = errors.Join(err, broken)
		}
	}
	if any && b.started.Load() {
		b.core.Review()
	}
	return any, err
}

// ReloadCertificates reads the files of certificates that have changed again. It may be
// called from any goroutine once the broker runs.
func (b *Broker) ReloadCertificates() error {
	_, err := b.refreshCertificates()
	return err
}
