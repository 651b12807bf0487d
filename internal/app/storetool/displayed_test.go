package storetool

import (
	"testing"

	"midge/internal/store"
)

// TestDisplayed writes clients and shared subscriptions with a mount point so that they can be read.
func TestDisplayed(t *testing.T) {
	for id, want := range map[string]string{
		"phone":                            "phone",
		store.MountedID("plant/", "phone"): "plant/phone",
		"$share/g/plant/\x00a/#":           "$share/g/plant/a/#",
		"$share/g/a":                       "$share/g/a",
		"":                                 "",
	} {
		if got := displayed(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}
