//go:build !linux || 386

package loop

import (
	"errors"
	"fmt"
	"runtime"
)

func newPoller(Config, Handler) (Loop, error) {
	return nil, fmt.Errorf("epoll on %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)
}
