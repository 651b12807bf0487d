package pebblestore

import "time"

// Quick makes waits short that a test does not want to sit out.
func Quick(o Options) Options {
	o.retry = time.Millisecond
	return o
}
