package acl

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/variable"
)

// told answers from a list, and counts what it is asked for.
type told struct {
	allowed []string
	ready   bool
	asked   []string
}

func (a *told) may(what, topic string) bool { return slices.Contains(a.allowed, what+" "+topic) }

func (a *told) Publish(topic []byte, _ packet.QoS, _ bool) bool {
	return a.may("publish", string(topic))
}
func (a *told) Subscribe(filter string) bool { return a.may("subscribe", filter) }
func (a *told) Receive([]byte) bool          { return true }

func (a *told) ReadyToPublish(topic []byte, _ packet.QoS, _ bool, _ func()) bool {
	a.asked = append(a.asked, string(topic))
	return a.ready
}

func (a *told) ReadyToSubscribe(filters []string, _ func()) bool {
	a.asked = append(a.asked, filters...)
	return a.ready
}

// TestSources has the first that has a rule decide: the client's rules, the file, and
// then whoever is asked.
func TestSources(t *testing.T) {
	rules, err := ParseClientRules([]string{"allow publish rule/#", "deny all rule/%u/secret", "deny publish both"})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "acl")
	if err := os.WriteFile(name, []byte("allow all file/#\nallow publish both\ndeny all file-denies\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := Open(name, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"publish rule/x", "publish file/x", "publish both", "publish asked", "publish file-denies", "publish other", "subscribe file/#", "subscribe asked"}
	for _, tt := range []struct {
		name  string
		from  Sources
		yes   []string
		asked string
	}{
		{"nothing", Sources{Listener: &Rules{}}, all, ""},
		{"rules", Sources{Own: rules}, []string{"publish rule/x"}, ""},
		{"file", Sources{Listener: rulesOf(file)}, []string{"publish file/x", "publish both", "subscribe file/#"}, ""},
		{"rules and file", Sources{Own: rules, Listener: rulesOf(file)}, []string{"publish rule/x", "publish file/x", "subscribe file/#"}, ""},
		{"asked", Sources{Ask: &told{allowed: []string{"publish asked", "subscribe asked"}}}, []string{"publish asked", "subscribe asked"}, "rule/x file/x both asked file-denies other file/# asked"},
		{
			"all of them",
			Sources{Own: rules, Listener: rulesOf(file), Ask: &told{allowed: []string{"publish asked", "subscribe asked", "publish both", "publish file-denies"}}},
			[]string{"publish rule/x", "publish file/x", "publish asked", "subscribe file/#", "subscribe asked"},
			"asked other asked",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.from.For(variable.Client{User: "alice", ID: "c", Listener: "l"}, nil, "")
			for _, what := range all {
				action, about, _ := strings.Cut(what, " ")
				got := p.Subscribe(about)
				if action == "publish" {
					got = p.Publish([]byte(about), 0, false)
				}
				if got != slices.Contains(tt.yes, what) {
					t.Errorf("%s: %t", what, got)
				}
				if a, ok := p.(routing.Asking); ok {
					if action == "publish" {
						a.ReadyToPublish([]byte(about), 0, false, nil)
					} else {
						a.ReadyToSubscribe([]string{about}, nil)
					}
				}
			}
			if a, ok := tt.from.Ask.(*told); ok && strings.Join(a.asked, " ") != tt.asked {
				t.Errorf("asked %q, want %q", a.asked, tt.asked)
			}
		})
	}
}

// TestParseClientRules says which rules are wrong, and how.
func TestParseClientRules(t *testing.T) {
	for _, tt := range []struct {
		rules []string
		want  string
	}{
		{nil, ""},
		{[]string{`allow user="a b" publish,subscribe a/#`, " deny all #"}, ""},
		{[]string{"allow publish a", "alow publish b"}, "rule 2"},
		{[]string{"allow publish a\nallow all #"}, "one line"},
		{[]string{"allow publish \xff"}, "UTF-8"},
		{[]string{""}, "rule 1"},
		{[]string{"# a comment"}, "rule 1"},
		{[]string{"group g alice"}, "group"},
		{[]string{"topic readwrite a"}, "does not go together"},
		{[]string{"allow publish a/#/b"}, "topic filter"},
		{make([]string, maxRules+1), "most"},
		{[]string{"allow publish " + strings.Repeat("a", maxRulesBytes)}, "bytes"},
	} {
		_, err := ParseClientRules(tt.rules)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%.60q: %v, want %s", tt.rules, err, tt.want)
		}
	}
	if _, err := ParseClientRules(make([]string, maxRules)); err == nil || strings.Count(err.Error(), "\n") >= maxFaults {
		t.Errorf("an error of many: %v", err)
	}
}

// TestRulesAreShared has the same rules once, as long as somebody has them.
func TestRulesAreShared(t *testing.T) {
	texts := []string{"allow publish shared/%c"}
	a, err := ParseClientRules(texts)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := ParseClientRules(texts); err != nil || b != a {
		t.Errorf("other rules, %v", err)
	}
	runtime.KeepAlive(a)
	a = nil
	count := func() int {
		known.mu.Lock()
		defer known.mu.Unlock()
		return len(known.rules)
	}
	for end := time.Now().Add(time.Minute); count() > 0; time.Sleep(time.Millisecond) {
		if runtime.GC(); time.Now().After(end) {
			t.Fatalf("%d are remembered for nobody", count())
		}
	}
}
