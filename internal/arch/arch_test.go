package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowed maps a package under internal to the packages under internal that it
// may import, in the order of the layout. docs/design/broker.md draws it.
var allowed = map[string]string{
	// Types and pure functions.
	"packet":    "",
	"topic":     "",
	"named":     "",
	"rate":      "",
	"linefile":  "",
	"ban":       "linefile",
	"bufpool":   "",
	"engine":    "bufpool",
	"settings":  "",
	"tlsrecord": "",
	"variable":  "",
	"config":    "settings",
	"message":   "bufpool packet",

	// The protocol: pure, packets and time in, bytes and effects out.
	"session": "message packet topic",

	// Certificates and what else TLS needs, from files.
	"tlsconfig": "settings tlsrecord",
	"devcert":   "",

	// Certificates from an authority.
	"acme": "settings",

	// Settings that are kept elsewhere than in files.
	"etcd": "config settings",

	// Records, and the committer that puts them on disk.
	"store": "message packet",

	// Adapters to the operating system.
	"engine/loop":       "engine",
	"engine/input":      "bufpool",
	"engine/epoll":      "bufpool engine engine/input engine/loop",
	"engine/gonet":      "bufpool engine",
	"engine/enginetest": "bufpool engine",

	// Protocols between an engine and its shards.
	"engine/layer":      "bufpool engine engine/input",
	"engine/tlslayer":   "bufpool engine engine/layer tlsrecord",
	"engine/wslayer":    "bufpool engine engine/layer",
	"engine/proxylayer": "engine",

	// Adapters to what keeps data.
	"store/memstore":    "store",
	"store/pebblestore": "store",
	"store/storetest":   "store",

	// The core.
	"routing":  "message packet topic",
	"retained": "message topic",
	"broker":   "ban bufpool engine message named packet rate retained routing session settings store topic",

	// Who may connect: a chain, and its links.
	"auth":              "acl broker packet rate variable",
	"auth/certificate":  "auth broker packet",
	"auth/hook":         "acl auth broker packet",
	"auth/jwt":          "acl auth broker packet",
	"auth/passwordfile": "auth broker linefile packet scram",
	"auth/ldap":         "auth packet",

	// What clients may do.
	"acl": "packet routing topic variable",

	// Services that are asked over HTTP.
	"httpclient": "",

	// What clients and listeners share: transports, and ways to authenticate.
	"websocket": "",
	"scram":     "",

	// What Linux says of processes, for the bench and the tests.
	"proc": "",

	// Brokers and others as processes, for comparisons and the tests.
	"program": "",

	// The load generator: network loops, and what is measured over them.
	"bench/loop": "websocket",
	"bench":      "bench/loop packet proc",

	// Brokers started and measured in turn, and the reports.
	"bench/compare": "bench packet proc program",

	// The client side of the tools.
	"client": "packet scram websocket",
	"pubsub": "client packet topic",

	// What Mosquitto's users bring along.
	"mosquitto/conf": "settings",
	"mosquitto/db":   "packet topic",

	// The wiring and the command line.
	"app":           "acl acme auth auth/certificate auth/hook auth/jwt auth/ldap auth/passwordfile ban broker bufpool config engine engine/epoll engine/gonet engine/proxylayer engine/tlslayer engine/wslayer httpclient routing settings store store/pebblestore tlsconfig",
	"app/apptest":   "app config",
	"app/storetool": "message mosquitto/db packet store store/pebblestore topic",
	"shell":         "client packet topic",
	"top":           "client packet",
	"cli/command":   "",
	"cli/bench":     "bench bench/compare cli/command packet",
	"cli/clients":   "cli/command client packet pubsub shell top topic",
	"cli":           "app app/storetool auth/passwordfile ban cli/bench cli/clients cli/command config devcert etcd mosquitto/conf settings",

	// Tests of the whole.
	"arch":        "",
	"conformance": "",
}

// outside maps what is neither ours nor the standard library to the packages
// that may import it: one home for each dependency.
var outside = map[string]string{
	"github.com/HdrHistogram/hdrhistogram-go": "internal/bench",
	"github.com/cockroachdb/pebble/v2":        "internal/store/pebblestore",
	"github.com/gdamore/tcell/v2":             "internal/top",
	"github.com/golang-jwt/jwt/v5":            "internal/auth/jwt",
	"github.com/go-asn1-ber/asn1-ber":         "internal/auth/ldap",
	"github.com/go-ldap/ldap/v3":              "internal/auth/ldap",
	"github.com/gobwas/ws":                    "internal/engine/wslayer",
	"github.com/gorilla/websocket":            "internal/websocket",
	"github.com/eclipse/paho.golang":          "internal/client",
	"github.com/eclipse/paho.mqtt.golang":     "internal/client",
	"github.com/fsnotify/fsnotify":            "internal/cli",
	"github.com/ncruces/go-strftime":          "internal/pubsub",
	"github.com/pelletier/go-toml/v2":         "internal/config internal/bench internal/bench/compare",
	"github.com/spf13/cobra":                  "internal/cli internal/cli/bench internal/cli/clients internal/cli/command",
	"github.com/spf13/pflag":                  "internal/cli internal/cli/bench internal/cli/clients internal/cli/command",
	"golang.org/x/crypto":                     "internal/acme internal/auth/passwordfile internal/tlsrecord",
	"golang.org/x/net":                        "internal/client",
	"golang.org/x/sys":                        "internal/shell",
	"golang.org/x/term":                       "internal/cli internal/shell internal/top",
}

// source is a Go file of this module, production code only.
type source struct {
	name string // from the root of the module, with slashes
	file *ast.File
	set  *token.FileSet // of all files
}

func (s source) dir() string { return path.Dir(s.name) }

// imports are the paths that the file imports.
func (s source) imports(t *testing.T) (all []string) {
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatalf("%s: import %s: %v", s.name, spec.Path.Value, err)
		}
		all = append(all, p)
	}
	return all
}

// sources parses all production files of cmd and internal, whatever their
// build tags. It reads files rather than asking go list, which would not see
// files behind tags.
func sources(t *testing.T) (all []source) {
	t.Helper()
	root := os.DirFS("../..")
	set := token.NewFileSet()
	for _, top := range []string{"cmd", "internal"} {
		err := fs.WalkDir(root, top, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return fs.SkipDir
			}
			if d.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
				return nil
			}
			text, err := fs.ReadFile(root, name)
			if err != nil {
				return err
			}
			file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			all = append(all, source{name, file, set})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) == 0 {
		t.Fatal("no Go files found")
	}
	return all
}

func TestDependencyRule(t *testing.T) {
	for _, s := range sources(t) {
		in, internal := strings.CutPrefix(s.dir(), "internal/")
		may, known := allowed[in]
		if !internal {
			may, known = "cli cli/command", true // cmd
		}
		if !known {
			t.Errorf("%s: package %s is missing from the table", s.name, in)
		}
		for _, imp := range s.imports(t) {
			if ours, ok := strings.CutPrefix(imp, "midge/internal/"); ok && !slices.Contains(strings.Fields(may), ours) {
				t.Errorf("%s imports %s: not in the table", s.name, ours)
			}
		}
	}
}

// TestOutsideDependencies proves that each dependency has one home, and that
// nothing needs a C compiler.
func TestOutsideDependencies(t *testing.T) {
	for _, s := range sources(t) {
		for _, imp := range s.imports(t) {
			first, _, _ := strings.Cut(imp, "/")
			switch {
			case imp == "C":
				t.Errorf("%s uses cgo", s.name)
			case first == "midge", !strings.Contains(first, "."):
			case !slices.Contains(strings.Fields(homes(imp)), s.dir()):
				t.Errorf("%s imports %s: not in the table of outside dependencies", s.name, imp)
			}
		}
	}
}

// homes are the packages that may import an outside package.
func homes(imp string) string {
	for module, homes := range outside {
		if imp == module || strings.HasPrefix(imp, module+"/") {
			return homes
		}
	}
	return ""
}

// TestPackageComments proves that each package has exactly one comment, which
// begins as Go's tools expect it and is more than a name.
func TestPackageComments(t *testing.T) {
	comments := map[string][]source{}
	for _, s := range sources(t) {
		if _, seen := comments[s.dir()]; !seen {
			comments[s.dir()] = nil
		}
		if s.file.Doc != nil && s.file.Doc.Text() != "" {
			comments[s.dir()] = append(comments[s.dir()], s)
		}
	}
	for dir, files := range comments {
		want := "Package " + path.Base(dir) + " "
		if strings.HasPrefix(dir, "cmd/") {
			want = "Command " + path.Base(dir) + " "
		}
		if len(files) == 0 {
			t.Errorf("%s: no package comment", dir)
		}
		texts := map[string]bool{} // files for different systems may repeat it
		for _, s := range files {
			text := s.file.Doc.Text()
			texts[text] = true
			if !strings.HasPrefix(text, want) || len(text) < len(want)+30 {
				t.Errorf("%s: the package comment should begin with %q and say what the package does", s.name, want)
			}
		}
		if len(texts) > 1 {
			t.Errorf("%s: %d different package comments", dir, len(texts))
		}
	}
}

// TestNoInit proves that importing a package does nothing.
func TestNoInit(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", s.name)
			}
		}
	}
}

// TestNoHomelessNames proves that each package and file is named for what it
// owns.
func TestNoHomelessNames(t *testing.T) {
	homeless := []string{"util", "utils", "common", "helper", "helpers", "misc", "base", "shared", "stuff"}
	for _, s := range sources(t) {
		parts := strings.Split(strings.TrimSuffix(s.name, ".go"), "/")
		for _, p := range parts {
			if slices.Contains(homeless, p) {
				t.Errorf("%s: %q names no owner", s.name, p)
			}
		}
	}
}

// TestOnlyMainEndsTheProcess proves that a library never ends the program, by
// a call or by a log line.
func TestOnlyMainEndsTheProcess(t *testing.T) {
	for _, s := range sources(t) {
		if strings.HasPrefix(s.name, "cmd/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch x, _ := sel.X.(*ast.Ident); {
			case x == nil:
			case x.Name == "os" && sel.Sel.Name == "Exit", x.Name == "log" && strings.HasPrefix(sel.Sel.Name, "Fatal"):
				t.Errorf("%s calls %s.%s", s.name, x.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

// TestPurePackages proves that the protocol has no clock, socket or goroutine
// of its own: packets and time in, bytes out.
func TestPurePackages(t *testing.T) {
	pure := []string{"internal/packet", "internal/topic", "internal/message", "internal/session"}
	banned := []string{"net", "os", "context", "sync", "log/slog", "io"}
	for _, s := range sources(t) {
		if !slices.Contains(pure, s.dir()) {
			continue
		}
		for _, imp := range s.imports(t) {
			if slices.Contains(banned, imp) {
				t.Errorf("%s imports %s: this package is pure", s.name, imp)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine: this package is pure", s.name)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "After", "Sleep", "NewTimer"}, n.Sel.Name) {
					t.Errorf("%s calls time.%s: time comes in", s.name, n.Sel.Name)
				}
			}
			return true
		})
	}
}
