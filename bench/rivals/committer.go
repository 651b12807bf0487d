//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"midge/internal/proc"
)

// A record is what one writer asks the committer for: to append sequence number seq, or to delete it.
type record struct {
	writer uint32
	seq    uint64
	remove bool
	asked  time.Time
}

// writers are goroutines, each with its records in flight. What comes back to one is how many are on disk.
type writers struct {
	requests chan []record
	written  []chan int
}

// committer measures what Pebble does behind one goroutine that commits what all writers have asked for in one synced
// batch, takes what has come meanwhile, and so on. A writer has window records in flight: it asks for the next when one
// is on disk, and then deletes that one, as a broker does once the receiver has it; nobody waits for deletions.
func committer(o options) (map[string]float64, error) {
	db, err := pebble.Open(o.data, &pebble.Options{Logger: quiet{}})
	if err != nil {
		return nil, fmt.Errorf("open Pebble: %w", err)
	}
	figures, err := commitAll(db, o)
	return figures, errors.Join(err, db.Close())
}

// quiet is Pebble's logger: what ends the process is printed.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "rivals: Pebble: "+format+"\n", args...)
	os.Exit(1)
}

func commitAll(db *pebble.DB, o options) (map[string]float64, error) {
	w := &writers{requests: make(chan []record, o.clients)}
	for i := range o.clients {
		w.written = append(w.written, make(chan int, 1))
		go w.write(i, o)
	}
	batch := db.NewBatch()
	value := make([]byte, o.size)
	var pending []record
	counts := make([]int, o.clients)
	var appended, batches uint64
	var latency []time.Duration
	var start time.Time
	var cpu time.Duration
	for begin := time.Now(); ; {
		if start.IsZero() && time.Since(begin) >= warmUp {
			var err error
			if cpu, err = proc.CPU(os.Getpid()); err != nil {
				return nil, err
			}
			start, appended, batches = time.Now(), 0, 0
		}
		if !start.IsZero() && time.Since(start) >= o.measure {
			break
		}
		pending = w.collect(pending[:0])
		batch.Reset()
		for _, r := range pending {
			if err := put(batch, r, value); err != nil {
				return nil, err
			}
		}
		if err := batch.Commit(pebble.Sync); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
		now := time.Now()
		batches++
		clear(counts)
		for _, r := range pending {
			if !r.remove {
				appended++
				counts[r.writer]++
				if !start.IsZero() && appended%16 == 0 {
					latency = append(latency, now.Sub(r.asked))
				}
			}
		}
		for i, n := range counts {
			if n > 0 {
				w.written[i] <- n
			}
		}
	}
	wall := time.Since(start)
	used, err := proc.CPU(os.Getpid())
	if err != nil {
		return nil, err
	}
	used -= cpu
	resident, err := proc.RSS(os.Getpid())
	if err != nil {
		return nil, err
	}
	if err := batch.Close(); err != nil {
		return nil, fmt.Errorf("close batch: %w", err)
	}
	slices.Sort(latency)
	n := float64(appended)
	figures := map[string]float64{
		"msgs/s":         n / wall.Seconds(),
		"broker µs/msg":  float64(used.Microseconds()) / n,
		"records/commit": n / float64(batches),
		"broker MB":      float64(resident) / 1e6,
	}
	if len(latency) > 0 {
		figures["commit p50 ms"] = latency[len(latency)/2].Seconds() * 1000
		figures["commit p99 ms"] = latency[len(latency)*99/100].Seconds() * 1000
	}
	return figures, nil
}

// collect takes what the writers have asked for: it waits for the first, and lets those run who are about to ask.
func (w *writers) collect(dst []record) []record {
	dst = append(dst, <-w.requests...)
	runtime.Gosched()
	for {
		select {
		case r := <-w.requests:
			dst = append(dst, r...)
		default:
			return dst
		}
	}
}

// write keeps window records in flight. It ends with the process.
func (w *writers) write(i int, o options) {
	var appended, removed uint64
	for n := o.window; ; n = <-w.written[i] {
		request := make([]record, 0, 2*n)
		now := time.Now()
		for range n {
			if !o.keep && appended >= uint64(o.window) {
				request = append(request, record{uint32(i), removed, true, now})
				removed++
			}
			request = append(request, record{uint32(i), appended, false, now})
			appended++
		}
		w.requests <- request
	}
}

func put(batch *pebble.Batch, r record, value []byte) error {
	var key [12]byte
	binary.BigEndian.PutUint32(key[:], r.writer)
	binary.BigEndian.PutUint64(key[4:], r.seq)
	if r.remove {
		return batch.SingleDelete(key[:], nil) // it was set once
	}
	return batch.Set(key[:], value, nil)
}
