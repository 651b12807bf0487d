package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"midge/internal/broker"
	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/tlslayer"
	"midge/internal/tlsconfig"
)

// certificates are the configurations of TLS, by the number of the listener.
type certificates map[int]*tlsconfig.Config

// readCertificates reads the files of all listeners with TLS.
func (b *Broker) readCertificates() error {
	b.certificates = certificates{}
	for number := range b.cfg.Listeners {
		l := &b.cfg.Listeners[number]
		alpn := map[string]string{"tls": "mqtt", "wss": "http/1.1"}[schemeOf(l)]
		if alpn == "" {
			continue
		}
		c, err := tlsconfig.New(l.Name(), &l.TLS, alpn)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", l.Listener.Address, err)
		}
		b.certificates[number] = c
	}
	return nil
}

// secure puts TLS between the engine and the shards.
func secure(shards []engine.Shard, buffers *bufpool.Pool, all certificates, log *slog.Logger) layered {
	byListener := func(listener int) *tls.Config {
		if c := all[listener]; c != nil {
			return c.TLS()
		}
		return nil
	}
	compact := func(listener int) bool { c := all[listener]; return c != nil && c.Compact() }
	l := tlslayer.New(shards, buffers, tlslayer.Config{TLS: byListener, Compact: compact, Log: log})
	return layered{l.Shards(), l.Start, func(c *broker.Counters) {
		from := l.Counters()
		c.TLSHandshakes += from.Done.Load()
		c.TLSResumed += from.Resumed.Load()
		c.TLSCompact += from.Compact.Load()
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

// keep keeps the certificates in step with their files, until ctx is cancelled.
func (all certificates) keep(ctx context.Context, core *broker.Broker, log *slog.Logger) {
	if len(all) == 0 {
		return
	}
	var warned time.Time
	for {
		changed, err := all.refresh(core, log)
		if err != nil {
			log.Error("certificates were not read again", "error", err)
		}
		if now := time.Now(); changed || now.Sub(warned) >= warnEvery {
			warned = now
			for _, c := range all {
				c.Warn(now, log)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(refreshEvery):
		}
	}
}

// refresh reads the files that have changed again.
func (all certificates) refresh(core *broker.Broker, log *slog.Logger) (any bool, err error) {
	for _, c := range all {
		changed, broken := c.Refresh()
		if any = any || changed; changed {
			log.Info("certificates were read again", "listener", c.Name())
		}
		if broken != nil {
			core.CountBrokenFiles()
			err = errors.Join(err, broken)
		}
	}
	return any, err
}

// ReloadCertificates reads the files of certificates that have changed again. It may be
// called from any goroutine once the broker runs.
func (b *Broker) ReloadCertificates() error {
	_, err := b.certificates.refresh(b.core, b.log)
	return err
}
