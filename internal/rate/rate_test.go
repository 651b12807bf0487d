package rate

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"
)

// TestBucket proves for limits of many kinds that a burst goes at once, that events come
// back one at a time, that no more come back than the burst, and that Free and
// Wait agree.
func TestBucket(t *testing.T) {
	for _, l := range []Limit{
		{1, time.Second, 1},
		{3, time.Second, 2},
		{7, time.Second, 10},
		{1, 10 * time.Second, 5},
		{1000, time.Second, 1000},
		{1 << 30, time.Second, 1 << 20},
		{1, 24 * time.Hour, 3},
		PerSecond(5, 10*time.Second),
		PerSecond(1, time.Millisecond),
	} {
		t.Run(fmt.Sprint(l), func(t *testing.T) {
			var b Bucket
			now := time.Hour
			took := func() (n int64) {
				for ; n <= l.Burst && b.Wait(l, now) == 0; n++ {
					if free := b.Free(l, now); free < 1 {
						t.Fatalf("%d events are free, and none has to wait", free)
					}
					b.Take(l, 1, now)
				}
				if free := b.Free(l, now); free != 0 && n <= l.Burst {
					t.Fatalf("%d events are free, and one has to wait", free)
				}
				return n
			}
			if n := took(); n != l.Burst && l.Events < 1<<29 {
				t.Errorf("%d at once, want %d", n, l.Burst)
			}
			if l.Events >= 1<<29 {
				return // one event is less than a nanosecond
			}
			now += b.Wait(l, now)
			if n := took(); n != 1 {
				t.Errorf("%d after the time of one, want 1", n)
			}
			now += 1000 * time.Hour * 24
			if n := took(); n != l.Burst {
				t.Errorf("%d after a long time, want %d", n, l.Burst)
			}
		})
	}
}

// TestLarge proves that more events than the burst are taken at once, and that
// the next one waits for all of them.
func TestLarge(t *testing.T) {
	l := PerSecond(10_000, time.Second)
	var b Bucket
	b.Take(l, 1<<20, 0)
	if got, want := b.Wait(l, 0).Round(time.Millisecond), (1<<20-10_000)*time.Second/10_000; got != want.Round(time.Millisecond) {
		t.Errorf("waits %v, want %v", got, want)
	}
	if b.Free(l, 0) != 0 || b.Free(l, 1000*time.Second) != 10_000 {
		t.Errorf("%d free at once, %d later", b.Free(l, 0), b.Free(l, 1000*time.Second))
	}
}

// TestExtremes proves that nothing overflows.
func TestExtremes(t *testing.T) {
	for _, l := range []Limit{{1, 24 * time.Hour, 20_000_000}, {1, math.MaxInt64, math.MaxInt64}, {math.MaxInt64, 1, 1}, {1, 1, 1}} {
		var b Bucket
		for range 100 {
			b.Take(l, 1<<40, time.Hour)
		}
		if b < 0 || b.Wait(l, time.Hour) < 0 || b.Free(l, time.Hour) < 0 || b.Free(l, math.MaxInt64) != l.Burst {
			t.Errorf("%v: %v, waits %v, %d free", l, b, b.Wait(l, time.Hour), b.Free(l, time.Hour))
		}
	}
	var none Bucket
	none.Take(Limit{}, 5, 0)
	if none != 0 || none.Wait(Limit{}, 0) != 0 || none.Free(Limit{}, 0) != math.MaxInt64 {
		t.Error("no limit is one")
	}
}

// TestTable fills a table with keys that come once. Who has used most stays in it.
func TestTable(t *testing.T) {
	l := PerSecond(1, 10*time.Second)
	table := New(1 << 10)
	if table.Wait(table.Address(netip.Addr{}), l, 0) != 0 {
		t.Error("an empty table makes somebody wait")
	}
	busy := table.Address(netip.MustParseAddr("192.0.2.1"))
	for range 10 {
		table.Take(busy, l, 0)
	}
	for i := range uint32(100_000) {
		table.Take(table.Address(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), l, 0)
	}
	if table.Wait(busy, l, 0) == 0 {
		t.Error("who has used most was forgotten")
	}
	if n := len(table.sets) * ways; n != 1<<10 {
		t.Errorf("room for %d, want %d", n, 1<<10)
	}
	if table.Wait(busy, l, time.Second) != 0 {
		t.Error("nothing comes back")
	}
}

// TestNetwork proves which addresses count as one.
func TestNetwork(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1:2", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
	} {
		a, b := netip.MustParseAddr(tt.a), netip.MustParseAddr(tt.b)
		table := New(8)
		if same := Network(a) == Network(b); same != tt.same || (table.Address(a) == table.Address(b)) != tt.same || (table.NameAt([]byte("x"), a) == table.NameAt([]byte("x"), b)) != tt.same {
			t.Errorf("%s and %s: one address: %v, want %v", tt.a, tt.b, same, tt.same)
		}
		if table.NameAt([]byte("x"), a) == table.NameAt([]byte("y"), a) {
			t.Error("two names have one key")
		}
	}
}
