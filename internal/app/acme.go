package app

import "context"

// getter gets certificates by ACME, and has them renewed: acme.Getter, unless it was left out.
type getter interface {
	Start(ctx context.Context)
}

// openACME makes ready what gets the certificates, if any are to be got.
func (b *Broker) openACME(version string) error {
	cfg := &b.cfg.TLS.ACME
	if len(cfg.Domains) == 0 {
		return nil
	}
	var err error
	b.acme, err = newGetter(cfg, version, b.log, func() {
		if err := b.ReloadCertificates(); err != nil {
			b.log.Error("certificates were not read again", "error", err)
		}
	})
	return err
}
