package etcd

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"midge/internal/config"
)

const (
	// quietTime is how long nothing must change before changes are read, so that several that
	// belong together are applied together; maxQuiet is how long they may go on.
	quietTime = 200 * time.Millisecond
	maxQuiet  = 2 * time.Second

	// pollEvery is how often etcd is asked whether it is there, and still has what it had. It
	// finds what a watch doesn't say: a machine that is gone, a process that hangs, a proxy that
	// holds back what comes in pieces.
	pollEvery = 30 * time.Second

	// What failed is tried again after this long, then after twice as long, up to the most.
	firstPause = 200 * time.Millisecond
	maxPause   = 10 * time.Second

	// eventPause is what a watch rests after each line, so that etcd can't keep a processor
	// of the broker busy.
	eventPause = time.Millisecond
)

// watchRequest is etcdserverpb.WatchRequest, and watchAnswer a line of its answer. What has
// changed is not looked at: all keys are read then.
type watchRequest struct {
	Create watchCreate `json:"create_request"`
}

type watchCreate struct {
	span
	From     int64 `json:"start_revision,string"`
	Fragment bool  `json:"fragment"`
}

type watchAnswer struct {
	Error  *refusal `json:"error"`
	Result struct {
		Canceled  bool       `json:"canceled"`
		Compacted int64      `json:"compact_revision,string"`
		Reason    string     `json:"cancel_reason"`
		Events    []struct{} `json:"events"`
	} `json:"result"`
}

// Watch calls changed with all keys when they are no longer what they were, until ctx is
// cancelled. last are those of Read, and there is true, unless etcd was away. While it is
// away, the keys stay. The log has that once, and once when it is back.
func (c *Client) Watch(ctx context.Context, last []config.EtcdKey, there bool, changed func([]config.EtcdKey), log *slog.Logger) {
	w := watcher{Client: c, last: last, there: there, since: time.Now(), changed: changed, log: log}
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		err := w.once(ctx)
		if err == nil || time.Since(began) > maxPause {
			pause = firstPause
		}
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)): // many brokers may have one etcd
		}
		pause = min(2*pause, maxPause)
	}
}

// watcher is what Watch knows.
type watcher struct {
	*Client
	last      []config.EtcdKey
	there     bool      // etcd has answered
	since     time.Time // when it was found to be away
	unwatched int       // how often in a row it has answered and could not be watched
	changed   func([]config.EtcdKey)
	log       *slog.Logger
}

// once reads the keys, and waits until they have changed, or it can't be told any more
// whether they have. The error is nil if there is no need to wait before the next time.
func (w *watcher) once(ctx context.Context) error {
	s, err := w.read(ctx)
	if ctx.Err() != nil {
		return err
	}
	w.note(err)
	if err != nil {
		return err
	}
	if !slices.Equal(s.keys, w.last) {
		w.last = s.keys
		w.changed(s.keys)
	}
	err = w.wait(ctx, &s)
	if err != nil && ctx.Err() == nil {
		w.log.Debug("the watch of etcd has ended", "endpoint", s.endpoint, "error", err)
	}
	return err
}

// note logs that etcd has gone, or is back.
func (w *watcher) note(err error) {
	switch {
	case err != nil && w.there:
		w.log.Warn("etcd is away: the settings stay what they are", "error", err)
		w.there, w.since = false, time.Now()
	case err == nil && !w.there:
		w.log.Info("etcd is back", "endpoint", w.cfg.Endpoints[w.at], "after", time.Since(w.since).Round(time.Millisecond))
		w.there = true
	}
}

// wait watches the keys. It returns nil after they have changed and were left alone for a
// moment.
func (w *watcher) wait(ctx context.Context, s *snapshot) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body, err := w.open(ctx, cancel, s)
	if w.watchable(err); err != nil {
		return err
	}
	events, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- w.lines(body, events)
		close(ended)
	}()
	defer func() {
		body.Close()
		for range ended { // until it is closed
		}
	}()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-events:
			return quiet(ctx, events)
		case err := <-ended:
			return err
		case <-poll.C:
			if same, err := w.same(ctx, s); err != nil || !same {
				return err
			}
		}
	}
}

// open begins a watch, whose answer has begun then.
func (w *watcher) open(ctx context.Context, cancel context.CancelCauseFunc, s *snapshot) (body io.ReadCloser, err error) {
	silent := time.AfterFunc(w.cfg.Timeout, func() { cancel(fmt.Errorf("no answer within %v", w.cfg.Timeout)) })
	defer silent.Stop()
	err = w.withToken(ctx, s.endpoint, func() (err error) {
		body, err = w.post(ctx, s.endpoint, "watch", watchRequest{watchCreate{w.span(), s.revision + 1, true}})
		return err
	})
	return body, err
}

// watchable logs that etcd answers and can't be watched, when that was so several times.
func (w *watcher) watchable(err error) {
	if w.unwatched++; err == nil {
		w.unwatched = 0
	}
	if w.unwatched == 3 {
		w.log.Warn("etcd can't be watched: its keys are read every few seconds instead", "error", err)
	}
}

// lines reads the answer of a watch until it ends. events gets an item when something has
// changed.
func (c *Client) lines(body io.Reader, events chan<- struct{}) error {
	all := bufio.NewScanner(body)
	all.Buffer(nil, int(c.maxBytes))
	for all.Scan() {
		var line watchAnswer
		if err := json.Unmarshal(all.Bytes(), &line); err != nil {
			return fmt.Errorf("the answer is not one of etcd: %w", err)
		}
		switch r := &line.Result; {
		case line.Error != nil:
			return line.Error
		case r.Compacted > 0:
			return fmt.Errorf("what has changed is compacted up to revision %d", r.Compacted)
		case r.Canceled:
			return fmt.Errorf("etcd has ended it: %.200s", r.Reason)
		case len(r.Events) > 0:
			select {
			case events <- struct{}{}:
			default: // there is one
			}
			time.Sleep(eventPause)
		}
	}
	if errors.Is(all.Err(), bufio.ErrTooLong) {
		return errTooLarge
	}
	return cmp.Or(all.Err(), io.EOF)
}

// quiet waits until nothing has changed for a moment.
func quiet(ctx context.Context, events <-chan struct{}) error {
	longest := time.After(maxQuiet)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-events:
		case <-time.After(quietTime):
			return nil
		case <-longest:
			return nil
		}
	}
}
