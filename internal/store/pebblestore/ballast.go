package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// On a full disk a database can't even forget: that is written to the log, and
// comes to the tables by compactions, which write new ones before they remove
// old ones. So some room is kept by files that are in nobody's way. When the disk
// is full they go, one at a time, and what removes messages goes on with their
// room; new messages are refused from then on. When enough is removed the files
// are made again, and the disk counts as full no more.

const (
	// ballastName begins the names of these files.
	ballastName = "ballast-"

	// ballastPieces is their number. The first is for a start: one on a full
	// disk needs room, too, and may follow a crash in the middle of the rest.
	ballastPieces = 4

	// ballastShare is the part of the partition that they take, ballastMost the
	// most and ballastLeast the least, in bytes, where that is no more than
	// twice the share. Guesses; with the most a table has 4 MiB.
	ballastShare = 16
	ballastMost  = ballastTables * 4 << 20
	ballastLeast = 2 << 20

	// Sizes in tables in memory.
	//
	// firstTables is what a start needs on a disk without a byte left. It writes
	// all that the logs hold to new tables, then a new list of files, the log
	// and its options, and removes the old ones last. The logs hold up to three
	// tables, a commit of Backlog bytes, and a fourth table: eight in all. One
	// more is for what surrounds the records in a table of the disk, and one for
	// the rest: the list begins anew at that size (MaxManifestFileSize).
	//
	// otherTables is each of the other pieces. Together they do for the tables
	// that wait to be written, up to four, and for what is committed meanwhile.
	firstTables   = 10
	otherTables   = 4
	ballastTables = firstTables + (ballastPieces-1)*otherTables
	backlogTables = 4

	// partTables is the size of the parts that are compacted one after the other,
	// so that each needs little room. Guess.
	partTables = 2
)

// ballast are these files. Guarded by the mu of state.
type ballast struct {
	fs    vfs.FS
	dir   string
	table int64 // bytes; 0: there is no ballast
	there [ballastPieces]bool
}

// ballastFor is how much room to keep on the partition of a directory: 0 if its
// size is not known.
func ballastFor(fs vfs.FS, dir string) int64 {
	usage, err := fs.GetDiskUsage(dir)
	if err != nil {
		return 0
	}
	share := int64(min(usage.TotalBytes, 1<<50)) / ballastShare
	return min(max(share, min(2*share, ballastLeast)), ballastMost)
}

// tableFor is the size of the tables in memory for a ballast, which may be 0.
func tableFor(ballast int64) int {
	if ballast == 0 {
		return 4 << 20
	}
	return int(min(max(ballast/ballastTables, 16<<10), 4<<20))
}

// findBallast looks which files are there.
func findBallast(fs vfs.FS, dir string, size int64) *ballast {
	b := &ballast{fs: fs, dir: dir, table: size / ballastTables}
	for i := range b.there {
		info, err := fs.Stat(b.name(i))
		if err != nil {
			continue
		}
		b.there[i] = info.Size() == b.size(i) && b.table > 0
		if !b.there[i] {
			_ = fs.Remove(b.name(i)) // of another size, or a crash came while it was made
		}
	}
	return b
}

func (b *ballast) name(i int) string { return b.fs.PathJoin(b.dir, ballastName+strconv.Itoa(i+1)) }

// size is that of a file, in bytes.
func (b *ballast) size(i int) int64 {
	if i == 0 {
		return firstTables * b.table
	}
	return otherTables * b.table
}

// whole is the size of all of them.
func (b *ballast) whole() int64 { return ballastTables * b.table }

// give removes one of the files, the last that is there, and reports whether it
// did. The first stays if it is kept for a start.
func (b *ballast) give(first bool) bool {
	if b == nil {
		return false
	}
	for i := ballastPieces - 1; i >= 0; i-- {
		if b.there[i] && (i > 0 || first) {
			b.there[i] = false
			return b.fs.Remove(b.name(i)) == nil
		}
	}
	return false
}

// scarce reports whether a start may lack room: the ballast is not whole, or
// there is less left than it takes, as far as that is known.
func (b *ballast) scarce() bool {
	usage, err := b.fs.GetDiskUsage(b.dir)
	return err != nil || b.missing() > 0 || usage.AvailBytes < uint64(b.whole())
}

// missing is the size of the files that are not there.
func (b *ballast) missing() (bytes int64) {
	if b == nil {
		return 0
	}
	for i, there := range b.there {
		if !there {
			bytes += b.size(i)
		}
	}
	return bytes
}

// make makes a file of the ballast, with blocks of its own on the disk. It is
// synced: the start after a power cut needs it.
func (b *ballast) make(i int, stop <-chan struct{}) (err error) {
	f, err := b.fs.Create(b.name(i), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err == nil {
			err = syncDir(b.fs, b.dir)
		}
		if err != nil {
			err = errors.Join(err, b.fs.Remove(b.name(i)))
		}
	}()
	size := b.size(i)
	from := size - 1 // elsewhere Pebble's Preallocate does nothing
	if err := f.Preallocate(0, size); runtime.GOOS != "linux" || err != nil {
		if isFull(err) {
			return err
		}
		from = 0
	}
	block := make([]byte, min(64<<10, size-from))
	for at := from; at < size; at += int64(len(block)) {
		for i := range block {
			block[i] = byte(rand.Uint32()) // some file systems take no room for what they can compress
		}
		if _, err := f.WriteAt(block[:min(int64(len(block)), size-at)], at); err != nil {
			return err
		}
		select {
		case <-stop:
			return ErrClosed
		default:
		}
	}
	return nil
}

const (
	// ballastEvery is how often missing ballast is made again while the disk is
	// not full, where there was no room before.
	ballastEvery = 30 * time.Second

	// The time between compactions that shall make room, in tries (retry of
	// state): 1 s, doubled after one that failed, since that has written a table
	// in vain, up to 5 minutes; 5 s after one that has worked.
	compactFirst = 4
	compactMost  = 1200
	compactAgain = 20
)

// keeper keeps the ballast, and makes room on a full disk.
type keeper struct {
	d           *disk
	db          *pebble.DB
	compactions *scheduler
	deletions   *atomic.Int64 // committed
	committing  *atomic.Bool  // a commit is under way

	ctx    context.Context // of compactions
	cancel func()
	calls  sync.WaitGroup // of Pebble, by begin
	flush  chan error     // what a flush of the tables in memory ends with; nil: none is under way
	all    chan error     // and the compaction of all

	complained bool
	low        bool
	pause      time.Duration // between compactions
	next       time.Time     // not before
	flushed    int64         // deletions when the last flush began
	deleted    int64         // and what the last compaction of all saw of these
	avail      int64         // room at the last one
}

// run works until the store closes or fails, and waits for Pebble then, which
// must not close while it compacts.
func (k *keeper) run() {
	defer k.end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-k.d.lowered:
		case <-k.d.closed:
			return
		case <-k.d.failed:
			return
		}
		low, starved := k.d.isLow()
		if !low && !k.fill() {
			low = k.lowerIfScarce()
		}
		if !low {
			timer.Reset(ballastEvery)
			continue
		}
		if !k.low {
			k.low, k.pause = true, compactFirst*k.d.retry
			k.next = time.Now().Add(k.pause)
			k.avail = k.room()
			k.compactions.allow(0)
		}
		k.fillFirst()
		if k.compactIfWorth(starved); k.recovered() {
			k.low = false
			k.compactions.allow(mostCompactions)
		}
		timer.Reset(k.d.retry)
	}
}

// room is what is available on the partition, -1 if that is not known.
func (k *keeper) room() int64 {
	usage, err := k.d.FS.GetDiskUsage(k.d.ballast.dir)
	if err != nil {
		return -1
	}
	return int64(min(usage.AvailBytes, 1<<60))
}

// fill makes what is missing of the ballast, and reports whether it is there. It
// leaves as much room as all of it takes.
func (k *keeper) fill() bool {
	b := k.d.ballast
	k.d.mu.Lock()
	missing := b.missing()
	k.d.mu.Unlock()
	if missing == 0 {
		return true
	}
	if room := k.room(); room >= 0 && room < missing+b.whole() {
		k.complain(fmt.Errorf("%d bytes are left", room))
		return false
	}
	for i := range b.there {
		if err := k.make(i); err != nil {
			k.complain(err)
			return false
		}
	}
	k.complained = false
	return true
}

// fillFirst makes the piece for a start again, while the disk counts as full, so
// that the next start after a crash has it. It leaves what the others take:
// compactions need that to make more room.
func (k *keeper) fillFirst() {
	if room := k.room(); room >= k.d.ballast.whole() {
		_ = k.make(0) // else later
	}
}

// make makes a piece of the ballast, unless it is there.
func (k *keeper) make(i int) error {
	b := k.d.ballast
	k.d.mu.Lock()
	there := b.there[i] || b.table == 0
	k.d.mu.Unlock()
	if there {
		return nil
	}
	if err := b.make(i, k.d.closed); err != nil {
		return err
	}
	k.d.mu.Lock()
	b.there[i] = true
	k.d.mu.Unlock()
	return nil
}

// complain says once that there is no room for the ballast.
func (k *keeper) complain(err error) {
	if low, _ := k.d.isLow(); low || k.complained || errors.Is(err, ErrClosed) {
		return
	}
	k.complained = true
	k.d.log.Warn("no room for the ballast, which would make room when the disk is full", "bytes", k.d.ballast.whole(), "error", err)
}

// lowerIfScarce begins the time in which the disk counts as full, if the piece for
// a start is gone and there is not even as much left as another one takes. It
// reports whether it did.
func (k *keeper) lowerIfScarce() bool {
	b := k.d.ballast
	room := k.room()
	k.d.mu.Lock()
	defer k.d.mu.Unlock()
	if b.there[0] || room < 0 || room >= otherTables*b.table {
		return false
	}
	k.d.lower(fmt.Errorf("%d bytes are left, and no ballast", room))
	return true
}

// compactIfWorth compacts what can be, if that may make room: something was
// deleted since the last time, there is more room for it, or a compaction has
// starved, or a commit is under way that may wait for one.
func (k *keeper) compactIfWorth(starved bool) {
	if time.Now().Before(k.next) {
		return
	}
	room := k.room()
	if k.deletions.Load() == k.deleted && room <= k.avail+k.avail/2 && !starved && !k.committing.Load() {
		return
	}
	k.avail = room
	k.d.setStarved(false)
	if err := k.compact(); err == nil && !k.starved() {
		k.pause, k.next = compactFirst*k.d.retry, time.Now().Add(compactAgain*k.d.retry)
		return
	}
	if k.give() {
		k.pause = compactFirst * k.d.retry
	}
	if starved {
		k.d.setStarved(true)
	}
	k.next = time.Now().Add(k.pause)
	k.pause = min(2*k.pause, compactMost*k.d.retry)
}

func (k *keeper) starved() bool {
	_, starved := k.d.isLow()
	return starved
}

// errCrowded ends compactions when one had no room.
var errCrowded = errors.New("a compaction had no room")

// compact compacts everything, part by part, so that it needs little room at a
// time. What was removed must be in tables for that. It returns early when a
// compaction had no room: Pebble would try the same one again, before all others.
// The next call goes on then, since Pebble panics when one is taken back that it is
// about to begin. It also returns early when the store closes or fails.
func (k *keeper) compact() error {
	select {
	case <-k.d.crowds:
	default:
	}
	k.compactions.allow(1)
	defer k.compactions.allow(0)
	if k.flush == nil {
		k.flushed = k.deletions.Load()
		k.flush = k.begin(k.db.Flush)
	}
	if err := k.wait(&k.flush); err != nil {
		return err
	}
	if k.all == nil {
		k.all, k.deleted = k.begin(k.compactParts), k.flushed
	}
	return k.wait(&k.all)
}

// begin calls Pebble in a goroutine of its own, which may never end once the disk
// has failed.
func (k *keeper) begin(call func() error) (done chan error) {
	done = make(chan error, 1)
	k.calls.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				k.d.fail(fmt.Errorf("pebble: %v", p)) // it may hold Pebble's locks
			}
		}()
		done <- call()
	})
	return done
}

// wait waits for the end of a call, and forgets it then. A compaction that has no
// room ends the wait, but not the call. Meanwhile ballast is given up for those that
// wait for room.
func (k *keeper) wait(call *chan error) error {
	tries := time.NewTicker(compactFirst * k.d.retry)
	defer tries.Stop()
	for {
		select {
		case err := <-*call:
			*call = nil
			return err
		case <-tries.C:
			k.give()
		case <-k.d.crowds:
			return errCrowded
		case <-k.d.closed:
			return ErrClosed
		case <-k.d.failed:
			return k.d.failure()
		}
	}
}

// give gives up a piece of the ballast, that for a start last, where something was
// removed since the start and compactions lack room for it. It reports whether it
// did. Most of what the logs held is in tables then, so that a start needs less.
func (k *keeper) give() bool {
	return k.deletions.Load() > 0 && k.d.relieveStarved()
}

// end ends what was begun, so that Pebble can close: nothing begins any more that
// it could be about to begin.
func (k *keeper) end() {
	k.compactions.stop()
	k.cancel()
	ended := make(chan struct{})
	go func() {
		k.calls.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-k.d.failed: // they may never end
	}
}

// compactParts compacts one part of the keys after the other.
func (k *keeper) compactParts() error {
	ends, err := k.parts()
	if err != nil {
		return err
	}
	from := []byte{0}
	for _, to := range append(ends, []byte{0xff, 0xff, 0xff, 0xff}) {
		if bytes.Compare(from, to) >= 0 {
			continue
		}
		if err := k.db.Compact(k.ctx, from, to, false); err != nil {
			return err
		}
		from = append(bytes.Clone(to), 0)
	}
	return nil
}

// parts are the last keys of parts of the database, which have as many bytes in
// the lowest level as partTables tables, or a single file.
func (k *keeper) parts() (ends [][]byte, err error) {
	levels, err := k.db.SSTables()
	if err != nil {
		return nil, err
	}
	var size uint64
	for _, table := range levels[len(levels)-1] {
		if size += table.Size; size >= uint64(partTables*k.d.ballast.table) {
			ends, size = append(ends, table.Largest.UserKey), 0
		}
	}
	return ends, nil
}

// recovered ends the time in which the disk counts as full, if the ballast is
// there again and compactions have room.
func (k *keeper) recovered() bool {
	if k.starved() || !k.fill() {
		return false
	}
	return k.d.high()
}
