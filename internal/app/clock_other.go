//go:build !linux

package app

import "time"

// bootName and sinceBoot know nothing here: from one process to the next the
// store goes by the time of day.
func bootName() string { return "" }

func sinceBoot() (up time.Duration, ok bool) { return 0, false }
