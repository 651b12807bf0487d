package loop

import "time"

// clock is the time since the start of a loop. It is monotonic.
type clock struct{ start time.Time }

func (c clock) now() time.Duration { return time.Since(c.start) }
