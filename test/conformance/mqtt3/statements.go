package mqtt3

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// CheckStatements compares statements.txt with the names of the tests, both in
// the directory of the test: a statement has either a test or a reason why
// not, and a test names a statement that exists. version is the first part of
// the names, such as "v311".
func CheckStatements(t *testing.T, version string) {
	text, err := os.ReadFile("statements.txt")
	if err != nil {
		t.Fatal(err)
	}
	tested := testedStatements(t, version)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "|")
		if len(fields) != 4 {
			t.Fatalf("statements.txt: %d fields and not 4 in %q", len(fields), line)
		}
		id, reason := strings.TrimSpace(fields[0]), strings.TrimSpace(fields[3])
		switch {
		case !tested[id] && reason == "":
			t.Errorf("%s has neither test nor reason", id)
		case tested[id] && reason != "":
			t.Errorf("%s has a test and a reason why not", id)
		}
		delete(tested, id)
	}
	for id := range tested {
		t.Errorf("a test names %s, which statements.txt does not have", id)
	}
}

// testedStatements collects the ids from string literals such as
// "v311/MQTT-3.1.0-1/case".
func testedStatements(t *testing.T, version string) map[string]bool {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, _ := strconv.Unquote(lit.Value) // the parser has checked it
				if parts := strings.SplitN(text, "/", 3); len(parts) == 3 && parts[0] == version && strings.HasPrefix(parts[1], "MQTT") {
					ids[parts[1]] = true
				}
			}
			return true
		})
	}
	return ids
}
