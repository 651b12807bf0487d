package shell

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"midge/internal/client"
)

func openTestHistory(t *testing.T, path string) *history {
	t.Helper()
	h, err := openHistory(path, func(line string) bool { return secret(commands(), line) })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func keepAll(t *testing.T, h *history, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := h.keep(line); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHistory proves that shells side by side keep the lines of both, for the
// user alone, and no secrets.
func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "midge", "history")
	one, other := openTestHistory(t, path), openTestHistory(t, path)
	keepAll(t, one, "sub a", "sub a", "", "  ", "connect x -P pw", "connect x -Ppw", "connect --password=pw", "set password pw", "connec -P pw")
	keepAll(t, other, "sub b")
	other.off = true
	keepAll(t, other, "not this")
	keepAll(t, one, "sub é")
	again := openTestHistory(t, path)
	if want := []string{"sub a", "sub b", "sub é"}; !slices.Equal(again.lines, want) {
		t.Errorf("%q, want %q", again.lines, want)
	}
	if again.At(0) != "sub é" || again.Len() != 3 {
		t.Errorf("the newest of %d is %q", again.Len(), again.At(0))
	}
	if i, j := again.search("sub", 0), again.search("sub a", 0); i != 0 || j != 2 || again.search("sub a", 3) != -1 {
		t.Errorf("found %d and %d", i, j)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := again.clear(); err != nil || openTestHistory(t, path).Len() != 0 {
		t.Errorf("it isn't empty: %v", err)
	}
}

// TestHistoryBound proves that the file doesn't grow for ever.
func TestHistoryBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	var text strings.Builder
	for i := range 2*historyLines + 1 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if h := openTestHistory(t, path); h.Len() != historyLines || h.At(0) != fmt.Sprintf("line %d", 2*historyLines) {
			t.Errorf("%d lines, the newest is %q", h.Len(), h.At(0))
		}
	}
}

func TestSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "packets.json")
	open := func() *saved {
		s, err := openSaved(path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	expiry := uint32(60)
	m := client.Message{Payload: []byte("\x00\xff"), QoS: 2, Retain: true, Expiry: &expiry, UserProperties: []client.UserProperty{{Key: "k", Value: "v"}}}
	if err := open().change(func(all map[string]client.Message) { all["b c"], all["a"] = m, client.Message{} }); err != nil {
		t.Fatal(err)
	}
	again := open()
	if got := again.packets["b c"]; !slices.Equal(again.names(), []string{"a", "b c"}) || string(got.Payload) != "\x00\xff" || got.QoS != 2 || !got.Retain || *got.Expiry != 60 || got.UserProperties[0].Value != "v" {
		t.Errorf("%+v", again.packets)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSaved(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged file: %v", err)
	}
}
