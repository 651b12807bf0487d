// Package hook asks an HTTP service who may connect, and what clients may do. A question
// and an answer are a JSON object each.
//
// Shards don't wait: how much is asked at one time and how much waits for that is
// bounded, answers are remembered, and a service that fails is left alone for a
// while.
//
// Files, from the bottom up: breaker.go, question.go, answer.go, cache.go, service.go,
// link.go, access.go.
package hook

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"midge/internal/auth"
)

// maxAnswer bounds an answer, in bytes: one with the largest number of rules fits.
const maxAnswer = 256 << 10

// Poster asks over HTTP: httpclient.Client is one.
type Poster interface {
	Post(ctx context.Context, url string, question []byte) ([]byte, error)
	Reload() error
	Close()
}

// MaxAnswer is how many bytes of an answer a Poster has to take.
const MaxAnswer = maxAnswer

// Options are what a Service goes by.
type Options struct {
	URL         string
	Poster      Poster
	Concurrency int // questions at one time,
	Queue       int // and that wait for it
	CacheTime   time.Duration
	DeniedTime  time.Duration // the same of answers that deny
	CacheSize   int           // bytes
	Failures    int           // one after the other, until the service counts as unavailable,
	RetryAfter  time.Duration // and is asked once each
	Throttle    *auth.Throttle
	Counters    *auth.Counters
	Log         *slog.Logger
}

// Service is an HTTP service that is asked. It may be used from any goroutine.
type Service struct {
	options Options
	pool    *auth.Pool
	breaker breaker
	cache   cache

	generation atomic.Uint64 // of answers: all of an earlier one are forgotten
}

// New returns a Service.
func New(o Options) *Service {
	s := &Service{options: o, pool: auth.NewPool(o.Concurrency, math.MaxInt64, o.Queue)}
	s.breaker = breaker{failures: o.Failures, retryAfter: o.RetryAfter}
	s.cache.init(o.CacheSize)
	return s
}

// Reload reads the files again that requests go by, and forgets all answers.
func (s *Service) Reload() error {
	s.generation.Add(1)
	s.cache.clear()
	return s.options.Poster.Reload()
}

// Close implements io.Closer.
func (s *Service) Close() error {
	s.options.Poster.Close()
	return nil
}

// What becomes of a question that the service is not asked, or does not answer.
var (
	errBusy        = errors.New("too many questions wait for the HTTP hook")
	errUnavailable = errors.New("the HTTP hook did not answer")
	errGone        = errors.New("nobody waits for an answer any more")
)

// ask has the service answer a question, and done called with what it says, once, from another
// goroutine. If there is an error, it is not asked, and done is not called. gone reports that nobody
// waits any more; nil: somebody does.
func (s *Service) ask(from netip.Addr, gone *atomic.Bool, question []byte, parse func([]byte) (*answer, error), done func(*answer, error)) error {
	if !s.breaker.mayBeAsked(time.Now()) {
		s.options.Counters.HookUnavailable.Add(1)
		return errUnavailable
	}
	taken := s.pool.Do(from, 0, func() {
		if gone != nil && gone.Load() {
			done(nil, errGone)
			return
		}
		done(s.post(question, parse))
	})
	if !taken {
		s.options.Counters.HookBusy.Add(1)
		return errBusy
	}
	return nil
}

// post sends a question and waits for the answer.
func (s *Service) post(question []byte, parse func([]byte) (*answer, error)) (*answer, error) {
	if !s.breaker.begin(time.Now()) {
		s.options.Counters.HookUnavailable.Add(1)
		return nil, errUnavailable
	}
	s.options.Counters.HookAsked.Add(1)
	text, err := s.options.Poster.Post(context.Background(), s.options.URL, question)
	var a *answer
	if err == nil {
		a, err = parse(text)
	}
	if err != nil {
		s.options.Counters.HookFailed.Add(1)
	}
	switch change := s.breaker.end(err == nil, time.Now()); change {
	case opened:
		s.options.Log.Error("the HTTP hook is unavailable: it is asked once in a while until it answers", "url", s.options.URL, "error", err, "every", s.options.RetryAfter)
	case failed:
		s.options.Log.Warn("the HTTP hook has failed", "url", s.options.URL, "error", err)
	case closed:
		s.options.Log.Info("the HTTP hook answers again", "url", s.options.URL)
	}
	if err != nil {
		return nil, errUnavailable
	}
	return a, nil
}

// timeOf is how long an answer may be remembered.
func (s *Service) timeOf(a *answer, now time.Time) time.Time {
	d := s.options.CacheTime
	if a.denies() {
		d = s.options.DeniedTime
	}
	until := now.Add(d)
	if !a.expires.IsZero() && a.expires.Before(until) {
		return a.expires
	}
	return until
}

// recall finds a remembered answer, nil if there is none, and how long it is.
func (s *Service) recall(key digest) (*answer, time.Time) {
	a, until := s.cache.get(key, time.Now())
	if a != nil {
		s.options.Counters.HookRemembered.Add(1)
	}
	return a, until
}

// remember remembers an answer.
func (s *Service) remember(key digest, a *answer) {
	now := time.Now()
	s.cache.put(key, a, now, s.timeOf(a, now))
}
