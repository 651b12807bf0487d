package loop

import "time"

// Poller is a thread's way to the network. Its loop calls it a few times in a
// turn, on the goroutine of its thread; Wake may come from any other.
type Poller interface {
	// Run makes the goroutine that calls it the thread: Thread.Due, a wait for input
	// or Wake, Thread.Turn, and so on until Due reports the end. The wait may be shorter.
	Run()

	// Hold gives the poller the connections of a shard, Release takes them away.
	// The first thread's gets all of them before Run.
	Hold(shard int)
	Release(shard int)

	// Idle is called before a wait that may last. It returns when the poller itself
	// wants to be called at the latest, engine.Never if there is no such time.
	Idle() (due time.Duration)

	// Wake ends the wait that is on, or else the next one.
	Wake()

	// Receive reads each connection of the thread's shards that was found ready, offers the
	// bytes to the shard, and schedules it.
	Receive()

	// Flush writes the output of all connections of the thread's shards, each once.
	Flush()

	// Measured is called on the first thread at the end of a window, of which the
	// thread worked so much. It returns how much processor time the thread had in
	// the window; 0 if that is not known, as after a change of thread.
	Measured(worked, elapsed time.Duration) (cpu time.Duration)
}
