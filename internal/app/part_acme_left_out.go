//go:build without_acme

package app

import (
	"errors"
	"log/slog"

	"midge/internal/settings"
)

// newGetter refuses to start: the part was left out.
func newGetter(*settings.ACME, string, *slog.Logger, func()) (getter, error) {
	return nil, errors.New("tls.acme.domains: this binary was built without the part acme; 'make build' builds all parts")
}
