package loop

import "errors"

// New makes the loop that suits the configuration.
func New(cfg Config, h Handler) (Loop, error) {
	if cfg.TLS == nil && cfg.WebSocket == "" && !cfg.Goroutines && cfg.Dial == nil {
		l, err := newPoller(cfg, h)
		if err == nil || !errors.Is(err, errors.ErrUnsupported) {
			return l, err
		}
	}
	return newGoroutines(cfg, h), nil
}
