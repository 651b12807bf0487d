package auth

import "sync/atomic"

// Counters are what links have counted that come and go while others stay.
type Counters struct {
	HookAsked       atomic.Uint64 // questions that were sent
	HookFailed      atomic.Uint64 // of these, those without an answer that is understood
	HookRemembered  atomic.Uint64 // questions whose answer was remembered
	HookUnavailable atomic.Uint64 // questions that were not sent since the service was unavailable
	HookBusy        atomic.Uint64 // or since too many waited
	KeysFailed      atomic.Uint64 // times that keys of tokens could not be fetched
}
