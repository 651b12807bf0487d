package arch

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// parts maps a part of the program that a build can leave out (without_NAME) to
// the packages that are there for it alone: ours, under internal, and modules of
// others.
var parts = map[string]string{
	"bench":     "cli/bench bench bench/compare bench/loop program github.com/HdrHistogram/hdrhistogram-go",
	"clients":   "cli/clients client pubsub shell top github.com/eclipse github.com/gdamore github.com/ncruces golang.org/x/net/proxy",
	"websocket": "engine/wslayer github.com/gobwas",
	"hook":      "auth/hook",
	"etcd":      "etcd",
	"acme":      "acme golang.org/x/crypto/acme",
	"ldap":      "auth/ldap github.com/go-ldap github.com/go-asn1-ber github.com/Azure github.com/google/uuid",
}

// TestPartsCanBeLeftOut proves that a build without a part links nothing of it, and
// one without any no HTTP either.
func TestPartsCanBeLeftOut(t *testing.T) {
	sources(t) // which has the result of the test depend on all of them
	full := linked(t, "")
	core := ""
	for name, packages := range parts {
		core += ",without_" + name
		left := linked(t, "without_"+name)
		for p := range strings.FieldsSeq(packages) {
			if !strings.Contains(p, ".") {
				p = "midge/internal/" + p
			}
			is := func(linked string) bool {
				return linked == p || strings.Contains(p, ".") && strings.HasPrefix(linked, p+"/")
			}
			if slices.ContainsFunc(left, is) {
				t.Errorf("a build without %s has %s", name, p)
			}
			if !slices.ContainsFunc(full, is) {
				t.Errorf("no build has %s: the table is wrong", p)
			}
		}
	}
	if slices.Contains(linked(t, core), "net/http") {
		t.Error("the core has net/http")
	}
}

// linked are the packages of a build of midge for Linux.
func linked(t *testing.T, tags string) []string {
	t.Helper()
	list := exec.Command("go", "list", "-deps", "-tags", tags, "./cmd/midge")
	list.Dir, list.Env = "../..", append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Fields(string(out))
}
