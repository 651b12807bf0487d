package app

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"midge/internal/broker"
)

func TestSystemMemory(t *testing.T) {
	const machine = "MemFree:  1 kB\nMemTotal:       1000 kB\n"
	for name, tt := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing is told": {nil, 0},
		"no group":        {map[string]string{"proc/meminfo": machine}, 1000 << 10},
		"version 2": {map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "500000\n", "sys/fs/cgroup/a/memory.max": "max\n",
		}, 500_000},
		"version 2, a parent has less": {map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "500000\n", "sys/fs/cgroup/a/memory.max": "400000\n",
		}, 400_000},
		"version 2, in a container": {map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "300000\n",
		}, 300_000},
		"version 2, more than the machine": {map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "3000000000\n",
		}, 1000 << 10},
		"version 1": {map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "5:cpu:/x\n4:hugetlb,memory:/a\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "200000\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 200_000},
		"version 1, the group's path is another one inside": {map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "4:memory:/docker/abc\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "100000\n",
		}, 100_000},
		"nonsense": {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "x\n0::\n::::\n"}, 1000 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for file, text := range tt.files {
				root[file] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := systemMemory(root); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

// pressed takes note of what the keeper tells the broker.
type pressed struct {
	calls []string
	ask   chan struct{}
}

func (p *pressed) SetPressure(level broker.Pressure, _ broker.Memory) {
	p.calls = append(p.calls, fmt.Sprint(level))
}

func (p *pressed) Shed(n int64)                 { p.calls = append(p.calls, fmt.Sprint("shed ", n)) }
func (p *pressed) Shedding() bool               { return false }
func (p *pressed) MemoryAsked() <-chan struct{} { return p.ask }

// TestPressure goes up and down with a measure of the test's own: each level
// begins where it should, ends below that, and is logged once an episode.
func TestPressure(t *testing.T) {
	var log strings.Builder
	core := &pressed{}
	used, now := int64(0), time.Duration(0)
	k := &controller{
		budget: 1000, core: core, log: slog.New(slog.NewTextHandler(&log, nil)),
		used: func(bool) usage { return usage{live: used} }, now: func() time.Duration { return now },
	}
	for _, tt := range []struct {
		used int64
		want string // what the broker is told
	}{
		{0, "0"},
		{799, "0"},
		{800, "1"},
		{760, "1"},
		{899, "1"},
		{900, "2"},
		{850, "2"},
		{849, "1"},
		{750, "1"},
		{900, "2"},
		{1000, "3 shed 100"},
		{950, "3 shed 50"},
		{949, "2"},
		{1200, "3 shed 300"},
		{749, "0"},
		{950, "2"},
		{0, "0"}, // the same episode: it was calm for a moment only
		{1, "0"},
		{1000, "3 shed 100"},
		{0, "0"},
		{1, "0"},
		{800, "1"},
		{801, "1 shed 101"},
		{802, "1"},
		{801, "1 shed 101"}, // pressure that lasts
	} {
		if core.calls, used = nil, tt.used; used%10 == 1 { // time passes
			now += calmAfter
		}
		if k.sample(); strings.Join(core.calls, " ") != tt.want {
			t.Errorf("at %d: %q, want %q", tt.used, core.calls, tt.want)
		}
	}
	for text, want := range map[string]int{"80 %": 3, "90 %": 2, "is used up": 2, "there is room again": 2} { // the third is on
		if n := strings.Count(log.String(), text); n != want {
			t.Errorf("%q is logged %d times, want %d:\n%s", text, n, want, log.String())
		}
	}
}

// TestMeasured counts how often memory is measured in ten seconds: seldom while
// there is plenty, often when there is little, and whenever the broker asks.
func TestMeasured(t *testing.T) {
	for _, tt := range []struct {
		used int64
		asks int
		want int
	}{
		{100, 0, 10},
		{249, 0, 10},
		{250, 0, 100},
		{500, 0, 100},
		{501, 0, 500},
		{100, 30, 40},
		{100, 4000, 4002}, // not more often than every sampleRest: they take eight seconds
	} {
		t.Run(fmt.Sprintf("%d of 1000 used, asked %d times", tt.used, tt.asks), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, begin := 0, time.Now()
				core := &pressed{ask: make(chan struct{})}
				k := &controller{
					budget: 1000, core: core, log: slog.New(slog.DiscardHandler),
					used: func(bool) usage { n++; return usage{live: tt.used} }, now: func() time.Duration { return time.Since(begin) },
				}
				ctx, end := context.WithTimeout(t.Context(), 10*time.Second-time.Millisecond)
				defer end()
				go func() {
					for range tt.asks {
						core.ask <- struct{}{}
					}
				}()
				k.run(ctx)
				if n != tt.want {
					t.Errorf("measured %d times, want %d", n, tt.want)
				}
			})
		})
	}
}
