//go:build !without_acme

package app

import (
	"log/slog"

	"midge/internal/acme"
	"midge/internal/settings"
)

// newGetter returns what gets certificates by ACME.
func newGetter(cfg *settings.ACME, version string, log *slog.Logger, changed func()) (getter, error) {
	return acme.New(cfg, version, log, changed)
}
