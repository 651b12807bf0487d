//go:build without_hook

package app

import (
	"context"
	"errors"
	"log/slog"

	"midge/internal/auth"
	"midge/internal/settings"
)

var errWithoutHook = errors.New("this binary was built without the part hook, which asks HTTP services; 'make build' builds all parts")

// openHook refuses to start: the part was left out.
func openHook(*settings.Hook, string, *auth.Throttle, *auth.Counters, *slog.Logger) (auth.Link, error) {
	return nil, errWithoutHook
}

func fetchKeys(*settings.Settings) (func(context.Context) ([]byte, error), error) {
	return nil, errWithoutHook
}
