package broker

import (
	"flag"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"midge/internal/store/memstore"
)

var update = flag.Bool("update", false, "write the generated pages")

// TestEachCounterHasARow proves that no field of Counters is left out of the
// sum over the shards, of $SYS or of the page: each has one row, and each row a
// field, a topic and a text of its own.
func TestEachCounterHasARow(t *testing.T) {
	var c Counters
	v := reflect.ValueOf(&c).Elem()
	rows := map[*uint64]string{}
	topics := map[string]bool{}
	for _, row := range counterTable {
		if old := rows[row.of(&c)]; old != "" {
			t.Errorf("%s and %s are rows of one field", old, row.topic)
		}
		if topics[row.topic] || row.topic == "" || row.help == "" {
			t.Errorf("%q stands twice, or has no text", row.topic)
		}
		rows[row.of(&c)], topics[row.topic] = row.topic, true
	}
	for i := range v.NumField() {
		if rows[v.Field(i).Addr().Interface().(*uint64)] == "" {
			t.Errorf("%s has no row", v.Type().Field(i).Name)
		}
	}

	for i := range v.NumField() {
		v.Field(i).SetUint(uint64(i) + 1)
	}
	sum := c
	sum.add(c)
	got := reflect.ValueOf(sum)
	for i := range got.NumField() {
		if want := 2 * (uint64(i) + 1); got.Field(i).Uint() != want {
			t.Errorf("%s is %d in the sum, want %d", v.Type().Field(i).Name, got.Field(i).Uint(), want)
		}
	}
}

// TestSysTellsEachCounter gives each counter a value of its own and reads it
// under its topic.
func TestSysTellsEachCounter(t *testing.T) {
	w := newWorld(t, quietly(1, func(c *setup) { c.Sys.Interval = time.Second }))
	w.pass(1100 * time.Millisecond)
	s := w.b.shards[0]
	for i, row := range counterTable {
		*row.of(&s.count) += uint64(i+1) * 1_000_000
	}
	w.pass(1100 * time.Millisecond)
	for i, row := range counterTable {
		switch row.of(&s.count) {
		case &s.count.Retained, &s.count.RetainedBytes, &s.count.RetainedExpired, &s.count.Damaged, &s.count.Bans:
			continue // not a shard's
		}
		var got string
		for _, m := range w.matches(sysPrefix + row.topic) {
			got = string(m.Payload)
		}
		if n, err := strconv.ParseUint(got, 10, 64); err != nil || n/1_000_000 != uint64(i+1) {
			t.Errorf("%s says %q, want %d millions and what else was counted", row.topic, got, i+1)
		}
	}
}

// TestSysPage proves that the page of all topics is what make docs writes, and
// that it has each topic that a broker publishes.
func TestSysPage(t *testing.T) {
	const page = "../../docs/reference/sys.md"
	if *update {
		if err := os.WriteFile(page, []byte(SysReference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != SysReference() {
		t.Errorf("%s is stale; run make docs", page)
	}

	w, _ := sysWorld(t, memstore.New(), 0)
	w.pass(3 * time.Second)
	n := 0
	for _, m := range w.matches(sysPrefix + "#") {
		n++
		topic := strings.TrimPrefix(string(m.Topic), sysPrefix)
		if rate, ok := strings.CutPrefix(topic, "load/"); ok {
			topic = "load/" + rate[:strings.LastIndex(rate, "/")] + "/1min"
		}
		if !strings.Contains(string(got), "`"+topic+"`") {
			t.Errorf("%s is not on the page", topic)
		}
	}
	if n < len(counterTable) {
		t.Errorf("%d topics, fewer than there are counters", n)
	}
}
