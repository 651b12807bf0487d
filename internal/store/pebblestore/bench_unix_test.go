//go:build unix

package pebblestore_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// BenchmarkCommit is what commits of a few messages cost, a millisecond apart: the
// processor time of the process, which is what to look at, and the time until they
// are on disk. DIR in the environment is where; by default a temporary directory.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 3, 100} {
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			dir, err := os.MkdirTemp(os.Getenv("DIR"), "midge-bench-")
			if err != nil {
				b.Fatal(err)
			}
			defer os.RemoveAll(dir)
			s, _, err := pebblestore.Open(dir, pebblestore.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			value := make([]byte, 250)
			var waited time.Duration
			before := processTime(b)
			for i := range b.N {
				var c store.Changes
				for j := range n {
					c.Set(binary.BigEndian.AppendUint64(nil, uint64(i*n+j)), value)
				}
				began := time.Now()
				if err := s.Commit(true, &c); err != nil {
					b.Fatal(err)
				}
				waited += time.Since(began)
				time.Sleep(time.Millisecond - time.Since(began))
			}
			b.ReportMetric(float64((processTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/commit")
			b.ReportMetric(float64(waited.Microseconds())/float64(b.N), "µs/commit")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkRead reads 128 messages of a queue, every tenth of what is stored, by one
// getter and by a Get for each.
func BenchmarkRead(b *testing.B) {
	s, _, err := pebblestore.Open(b.TempDir(), pebblestore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	key := func(i int) []byte { return binary.BigEndian.AppendUint64([]byte{'r'}, uint64(i)) }
	const messages = 100_000
	for i := 0; i < messages; i += 1000 {
		var c store.Changes
		for j := range 1000 {
			c.Set(key(i+j), make([]byte, 250))
		}
		if err := s.Commit(false, &c); err != nil {
			b.Fatal(err)
		}
	}
	read := func(b *testing.B, get func(dst, key []byte) ([]byte, error), at int) {
		var buf []byte
		for i := range 128 {
			if buf, err = get(buf[:0], key(at+10*i)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("Getter", func(b *testing.B) {
		for i := range b.N {
			g := s.Getter()
			read(b, g.Get, i%(messages-1280))
			g.Close()
		}
	})
	b.Run("Get", func(b *testing.B) {
		for i := range b.N {
			read(b, s.Get, i%(messages-1280))
		}
	})
}

// processTime is the processor time of the process.
func processTime(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
