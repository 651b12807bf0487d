package bench

import (
	"context"
	"errors"
)

func run(context.Context, Target, Scenario, Options) (*Result, error) {
	return nil, errors.New("bench: not yet")
}

// churnRoom is how many connections of clients that come and go are open at a
// time.
func churnRoom(perSecond float64) int { return int(perSecond) + 1 }
