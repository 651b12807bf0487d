package store

import "time"

// A commit costs the processor much the same for one turn as for three: the sync,
// and the switches between the goroutines and threads that take part. On a quick
// disk, at some thousand messages a second, each message would get a commit of its
// own. So the committer may begin commits at least a pace apart. That makes an
// acknowledgement later by less than the pace, which nobody notices, unless
// publishers send the next message when the one before is acknowledged: those it
// would slow down. The committer can't see who does; but then the rate at which
// turns come falls with the pace, and otherwise it doesn't.

const (
	// pace is the time between the beginnings of two commits. Measured:
	// bench/results/durable.md.
	pace = time.Millisecond

	// minCommits is from how many commits a second on a pace makes a difference.
	minCommits = 750

	// A phase is this many turns, or this long: so that the rate of turns that
	// come by chance is known within some percent.
	phaseTurns = 512
	phaseTime  = 500 * time.Millisecond

	// A pace is worth it if a commit has so many times the turns, and the rate is
	// at least this part of that without.
	minGain  = 1.2
	minSpeed = 0.9

	// It ends before the end of its phase if that is out of reach, after this many
	// commits and turns.
	earlyCommits = 32
	earlyTurns   = 64
	earlySpeed   = 0.6

	// maxPaced phases follow one another before it is looked what the rate is
	// without. maxRest phases pass without a pace where it was not worth it.
	maxPaced = 8
	maxRest  = 64
)

// pacer decides when the next commit may begin. Phases with a pace and phases
// without alternate, and each is judged by the one that follows. The zero value is
// ready for use. It belongs to the committer.
type pacer struct {
	paced bool
	last  time.Time // when the last commit began
	phase phase     // this one

	free   speed // of the last phase without a pace
	result speed // of the last phase with one, until it is judged; 0: none

	stretch int // how many phases with a pace follow one another
	left    int // of these
	backoff int // how many phases without pass after one that was not worth it
	rest    int // of these, before the next try
}

// phase counts what commits with a sync do.
type phase struct {
	began          time.Time
	commits, turns int
}

// speed is what a phase comes to.
type speed struct {
	commits, turns float64 // a second
	gain           float64 // turns of a commit
}

func (p *phase) speed(now time.Time) speed {
	seconds := max(now.Sub(p.began).Seconds(), 1e-6)
	return speed{
		commits: float64(p.commits) / seconds, turns: float64(p.turns) / seconds,
		gain: float64(p.turns) / float64(max(p.commits, 1)),
	}
}

// wait is how long the next commit has to wait.
func (p *pacer) wait(now time.Time) time.Duration {
	if !p.paced {
		return 0
	}
	return max(pace-now.Sub(p.last), 0)
}

// committed notes a commit with a sync, and how many turns it has that somebody
// waits for.
func (p *pacer) committed(began, now time.Time, turns int) {
	p.last = began
	if p.phase.began.IsZero() {
		p.phase.began = began
	}
	p.phase.commits++
	p.phase.turns += turns
	switch s := p.phase.speed(now); {
	case p.paced && p.isFutile(s):
		p.result, p.left = s, 0
		p.enter(false, now)
	case p.phase.turns < phaseTurns && now.Sub(p.phase.began) < phaseTime:
	case p.paced:
		p.result = s
		p.left--
		p.enter(p.left > 0, now)
	default:
		p.judge(s)
		p.free = s
		p.rest--
		begins := p.rest < 0 && s.commits >= minCommits
		p.left = max(p.stretch, 1)
		p.enter(begins, now)
	}
}

// enter begins a phase.
func (p *pacer) enter(paced bool, now time.Time) {
	p.paced, p.phase = paced, phase{began: now}
}

// isFutile reports whether a phase with a pace need not come to its end.
func (p *pacer) isFutile(s speed) bool {
	return p.phase.commits >= earlyCommits && s.gain < minGain*p.free.gain ||
		p.phase.turns >= earlyTurns && s.turns < earlySpeed*p.free.turns
}

// judge compares the last phase with a pace with the one without that followed. A
// rate that fell by itself doesn't come back then.
func (p *pacer) judge(free speed) {
	r := p.result
	p.result = speed{}
	switch {
	case r.turns == 0:
	case r.gain < minGain*free.gain || r.turns < minSpeed*free.turns:
		p.stretch, p.backoff = 1, min(max(4*p.backoff, 1), maxRest)
		p.rest = p.backoff
	default:
		p.stretch, p.backoff = min(max(2*p.stretch, 2), maxPaced), 0
	}
}
