package routing

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestSubscriptions adds and removes at random, few and many, and compares with
// a map.
func TestSubscriptions(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var list Subscriptions[*someone]
	model := map[string]*Subscription[*someone]{}
	for step := range 20_000 {
		filter := fmt.Sprint(rnd.IntN(60 + step/50))
		if rnd.IntN(10) == 0 {
			filter += strings.Repeat("/x", longFilter)
		}
		grows := step/1000%2 == 0
		sub := list.Find(filter)
		if sub != model[filter] {
			t.Fatalf("step %d: found %v, want %v", step, sub, model[filter])
		}
		switch {
		case sub == nil && (grows || rnd.IntN(4) == 0):
			sub = &Subscription[*someone]{Filter: filter}
			list.Add(sub)
			model[filter] = sub
		case sub != nil && !grows:
			list.Remove(filter)
			delete(model, filter)
		}
		seen, weight := 0, 0
		for sub := range list.All {
			seen++
			weight += WeightOf(sub.Filter)
			if model[sub.Filter] != sub {
				t.Fatalf("step %d: %.10q is there", step, sub.Filter)
			}
		}
		if seen != len(model) || list.Weight() != weight {
			t.Fatalf("step %d: %d subscriptions of weight %d, want %d and %d", step, seen, list.Weight(), len(model), weight)
		}
	}
}

// TestWeightOf counts long filters as several.
func TestWeightOf(t *testing.T) {
	for n, want := range map[int]int{1: 1, longFilter: 1, longFilter + 1: 2, 65_535: 16} {
		if got := WeightOf(strings.Repeat("x", n)); got != want {
			t.Errorf("%d bytes: %d, want %d", n, got, want)
		}
	}
}
