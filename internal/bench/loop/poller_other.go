//go:build !linux

package loop

import (
	"errors"
	"fmt"
	"runtime"
)

func newPoller(Config, Handler) (Loop, error) {
	return nil, fmt.Errorf("epoll on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
