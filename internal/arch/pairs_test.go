package arch

import (
	"bufio"
	"bytes"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// back maps a package under internal to the pairs of its files that go against
// the order of its package comment. A package that is missing has none. The
// figures only fall: whoever removes a pair lowers its package's.
var back = map[string]int{
	"broker":       1,
	"client":       1,
	"engine/gonet": 2,
	"program":      1,
}

// TestPairs holds the files of a package to the order that its comment gives
// them, from the bottom up. A pair of files (A, B) is back if A stands before B
// and uses a function, a method or a package variable that B declares. Types,
// constants and fields don't count: they are what files talk about, not whom they
// call. So a file that calls up through an interface of its own is not back.
//
//	go test ./internal/arch -run Pairs -v            # lists the pairs that are back
//	go test ./internal/arch -run Pairs/broker -v     # of one package
//
// It looks at the files of Linux; those for other systems stand in the order, too.
func TestPairs(t *testing.T) {
	dirs := map[string][]source{}
	for _, s := range sources(t) {
		if in, ok := strings.CutPrefix(s.dir(), "internal/"); ok {
			dirs[in] = append(dirs[in], s)
		}
	}
	for in := range back {
		if dirs[in] == nil {
			t.Errorf("the table has %s, which is no package", in)
		}
	}
	checker := types.Config{Importer: newImporter(t)}
	for _, in := range slices.Sorted(maps.Keys(dirs)) {
		t.Run(in, func(t *testing.T) {
			pairs := pairsOf(t, &checker, in, dirs[in])
			place := orderOf(t, dirs[in])
			var against []string
			for _, p := range slices.SortedFunc(maps.Keys(pairs), comparePairs) {
				if place[p.user] < place[p.used] {
					against = append(against, fmt.Sprintf("%s uses %s: %s", p.user, p.used, strings.Join(slices.Sorted(maps.Keys(pairs[p])), ", ")))
				}
			}
			t.Logf("%d files, %d pairs, %d back", len(dirs[in]), len(pairs), len(against))
			for _, a := range against {
				t.Log(a)
			}
			if n := len(against); n > back[in] {
				t.Errorf("%d pairs are back, at most %d may be", n, back[in])
			} else if n < back[in] {
				t.Errorf("%d pairs are back: lower the %d of the table", n, back[in])
			}
		})
	}
}

// pair is two files of a package, by name, of which the first uses the second.
type pair struct{ user, used string }

func comparePairs(a, b pair) int {
	return strings.Compare(a.user+" "+a.used, b.user+" "+b.used)
}

// pairsOf finds the pairs of a package, and what is used in each.
func pairsOf(t *testing.T, checker *types.Config, in string, all []source) map[pair]map[string]bool {
	t.Helper()
	linux := build.Default
	linux.GOOS, linux.CgoEnabled = "linux", false
	var files []*ast.File
	for _, s := range all {
		if match, err := linux.MatchFile("../../"+s.dir(), path.Base(s.name)); err != nil {
			t.Fatal(err)
		} else if match {
			files = append(files, s.file)
		}
	}
	set := all[0].set
	info := types.Info{Uses: map[*ast.Ident]types.Object{}}
	pkg, err := checker.Check("midge/internal/"+in, set, files, &info)
	if err != nil {
		t.Fatal(err)
	}
	pairs := map[pair]map[string]bool{}
	for id, obj := range info.Uses {
		if obj.Pkg() != pkg {
			continue
		}
		at := obj.Pos()
		switch obj := obj.(type) {
		case *types.Func:
			at = obj.Origin().Pos()
		case *types.Var:
			if obj.Parent() != pkg.Scope() {
				continue
			}
		default:
			continue
		}
		p := pair{path.Base(set.Position(id.Pos()).Filename), path.Base(set.Position(at).Filename)}
		if p.user != p.used {
			if pairs[p] == nil {
				pairs[p] = map[string]bool{}
			}
			pairs[p][id.Name] = true
		}
	}
	return pairs
}

// orderOf reads the places of files from the package comment: all names of files
// behind "Files, from the bottom up". It fails for files that have none, and
// for names without a file. A package of one file needs no order.
func orderOf(t *testing.T, all []source) map[string]int {
	t.Helper()
	place := map[string]int{}
	name := regexp.MustCompile(`\b[a-z0-9_]+\.go\b`)
	for _, s := range all {
		if _, list, ok := strings.Cut(s.file.Doc.Text(), "Files, from the bottom up"); ok {
			for i, f := range name.FindAllString(list, -1) {
				if _, twice := place[f]; twice {
					t.Errorf("%s: %s stands twice in the order of files", s.name, f)
				}
				place[f] = i
			}
			break
		}
	}
	if len(all) == 1 {
		return place
	}
	for _, s := range all {
		if _, ok := place[path.Base(s.name)]; !ok {
			t.Errorf(`%s is missing in the package comment, behind "Files, from the bottom up"`, s.name)
		}
	}
	for f := range place {
		if !slices.ContainsFunc(all, func(s source) bool { return path.Base(s.name) == f }) {
			t.Errorf("the order of files has %s, which is no file", f)
		}
	}
	return place
}

// newImporter returns an importer of what the go command compiled for Linux.
func newImporter(t *testing.T) types.Importer {
	t.Helper()
	list := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", "./internal/...")
	list.Dir = "../.."
	list.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	var failure strings.Builder
	list.Stderr = &failure
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, failure.String())
	}
	compiled := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		p, file, _ := strings.Cut(lines.Text(), " ")
		compiled[p] = file
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", func(p string) (io.ReadCloser, error) {
		file, ok := compiled[p]
		if !ok {
			return nil, fmt.Errorf("go list doesn't know %s", p)
		}
		return os.Open(file)
	})
}
