//go:build !without_hook

package app

import (
	"context"
	"log/slog"
	"time"

	"midge/internal/auth"
	"midge/internal/auth/hook"
	"midge/internal/httpclient"
	"midge/internal/routing"
	"midge/internal/settings"
)

// hookLink is the service of a URL.
type hookLink struct{ *hook.Link }

// For implements asked.
func (l hookLink) For(who *auth.Identity) routing.Asking { return l.Link.For(who) }

// openHook makes what asks an HTTP service.
func openHook(set *settings.Hook, url string, throttle *auth.Throttle, counters *auth.Counters, log *slog.Logger) (auth.Link, error) {
	client, err := httpclient.New(httpclient.Options{
		Headers: set.Headers, SecretFile: set.SecretFile, CA: set.CA, Proxy: set.Proxy,
		Timeout: set.Timeout, Connections: set.Concurrency, MaxAnswer: hook.MaxAnswer,
	})
	if err != nil {
		return nil, err
	}
	service := hook.New(hook.Options{
		URL: url, Poster: client, Concurrency: set.Concurrency, Queue: set.Queue,
		CacheTime: set.CacheTime, DeniedTime: set.CacheDeniedTime, CacheSize: int(set.CacheSize),
		Failures: set.Failures, RetryAfter: set.RetryAfter, Throttle: throttle, Counters: counters, Log: log,
	})
	return hookLink{&hook.Link{Service: service, Next: set.Unavailable == settings.NextUnavailable}}, nil
}

const (
	keysTimeout = 10 * time.Second // for keys of tokens; nobody waits for them but who has a new one
	maxKeys     = 1 << 20          // bytes of them
)

// fetchKeys is how the keys of tokens are fetched from a URL.
func fetchKeys(set *settings.Settings) (func(context.Context) ([]byte, error), error) {
	client, err := httpclient.New(httpclient.Options{CA: set.Auth.JWTCA, Proxy: set.Hook.Proxy, Timeout: keysTimeout, Connections: 1, MaxAnswer: maxKeys})
	if err != nil {
		return nil, err
	}
	url := set.Auth.JWTKeys
	return func(ctx context.Context) ([]byte, error) { return client.Get(ctx, url) }, nil
}
