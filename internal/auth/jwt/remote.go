package jwt

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"midge/internal/auth"
)

const (
	// earlyInterval is how often a token with a key that is not known has the keys fetched
	// before their time. Whoever makes up names of keys gets no more requests out of it.
	earlyInterval = time.Minute

	maxWaiting = 1000 // CONNECT packets that wait for keys

	// After a failure it is tried again, each time after twice as long.
	minRetry = time.Second
	maxRetry = time.Minute
)

// remote fetches keys, again and again. If it can't, those from before stay.
type remote struct {
	fetch   func(context.Context) ([]byte, error)
	refresh time.Duration
	url     string
	log     *slog.Logger
	store   func([]key)
	end     context.CancelFunc
	wake    chan struct{}

	counters *auth.Counters

	mu       sync.Mutex
	fetching bool      // or about to
	early    time.Time // when the next early fetch may be
	waiting  []func()
	ended    bool
}

func newRemote(l *Link) *remote {
	ctx, end := context.WithCancel(context.Background())
	f := &remote{
		fetch: l.options.Fetch, refresh: l.options.Refresh, url: l.options.Keys, log: l.options.Log,
		store: func(keys []key) { l.keys.Store(&keys) },
		end:   end, wake: make(chan struct{}, 1), fetching: true, counters: l.options.Counters,
	}
	go f.run(ctx)
	return f
}

func (f *remote) close() { f.end() }

// now has the keys fetched.
func (f *remote) now() {
	select {
	case f.wake <- struct{}{}:
	default: // it is about to
	}
}

// wait has then called when the keys have been fetched that a token wants. It reports false if
// nobody fetches them now.
func (f *remote) wait(then func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || len(f.waiting) >= maxWaiting {
		return false
	}
	if !f.fetching {
		now := time.Now()
		if now.Before(f.early) {
			return false
		}
		f.early = now.Add(min(earlyInterval, f.refresh))
		f.fetching = true
		f.now()
	}
	f.waiting = append(f.waiting, then)
	return true
}

// run fetches keys until ctx is cancelled.
func (f *remote) run(ctx context.Context) {
	defer f.ends()
	retry := time.Duration(0)
	for {
		err := f.once(ctx)
		if ctx.Err() != nil {
			return
		}
		f.fetched()
		switch {
		case err == nil && retry > 0:
			f.log.Info("the keys of tokens could be fetched again", "url", f.url)
			retry = 0
		case err != nil && retry == 0: // said once
			f.log.Error("the keys of tokens could not be fetched; those from before stay", "url", f.url, "error", err)
			retry = minRetry
		case err != nil:
			retry = min(2*retry, maxRetry)
		}
		next := f.refresh
		if err != nil {
			f.counters.KeysFailed.Add(1)
			next = min(retry, f.refresh)
		}
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-time.After(next):
		}
		f.mu.Lock()
		f.fetching = true
		f.mu.Unlock()
	}
}

// fetched lets those go on that wait for keys.
func (f *remote) fetched() {
	f.mu.Lock()
	waiting := f.waiting
	f.waiting, f.fetching = nil, false
	f.mu.Unlock()
	for _, then := range waiting {
		then()
	}
}

// ends lets them go for good.
func (f *remote) ends() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.fetched()
}

func (f *remote) once(ctx context.Context) error {
	text, err := f.fetch(ctx)
	if err != nil {
		return err
	}
	keys, err := parseRemote(text)
	if err == nil {
		f.store(keys)
	}
	return err
}

// parseRemote reads public keys. A secret is none: whoever can fetch it signs tokens, and a
// page that says that something is wrong would be one, too.
func parseRemote(text []byte) ([]key, error) {
	trimmed := bytes.TrimSpace(text)
	if !bytes.HasPrefix(trimmed, []byte("{")) && !bytes.HasPrefix(trimmed, []byte("-----BEGIN")) {
		return nil, errors.New("what the URL has is neither a JWKS nor PEM")
	}
	keys, err := parseKeys(trimmed)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if _, secret := k.value.([]byte); secret {
			return nil, errors.New("the JWKS has a secret in it, which everybody can fetch")
		}
	}
	return keys, nil
}
