package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestDocumentsQuoteTheLog proves that each message that the pages for operators
// tell them to look for is one of the program, word for word. What differs each
// time is … there, or a number, or a name in capitals.
func TestDocumentsQuoteTheLog(t *testing.T) {
	var (
		quoted  = regexp.MustCompile("`([^`]+)`")
		message = regexp.MustCompile(`^(?:msg=".*|[a-z](?:[A-Za-z,:;'…0-9/._-]* ){2}[A-Za-z,:;'…0-9/._ -]*)$`)
		filled  = regexp.MustCompile(`midge\.toml:[0-9]+|\b[0-9]+\b|\b[A-Z_]{4,}|: |; |msg=|"`)
		all     = filled.ReplaceAllString(strings.Join(messages(t), "\n"), "…")
	)
	for page, least := range map[string]int{"troubleshooting.md": 35, "operations.md": 8} {
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, m := range quoted.FindAllStringSubmatch(strings.Join(strings.Fields(string(text)), " "), -1) {
			quote := m[1]
			if !message.MatchString(quote) || strings.HasPrefix(quote, "midge ") || strings.HasPrefix(quote, "systemctl ") || strings.HasPrefix(quote, "etcdctl ") {
				continue
			}
			n++
			for part := range strings.SplitSeq(filled.ReplaceAllString(quote, "…"), "…") {
				if part = strings.TrimSpace(part); len(part) > 3 && !strings.Contains(all, part) {
					t.Errorf("%s quotes %q: nothing in the program says %q", page, quote, part)
				}
			}
		}
		if n < least {
			t.Errorf("%s: %d messages found, want %d at least", page, n, least)
		}
	}
}

// messages are all texts in production files, with … for what is filled in, and
// some that the system has.
func messages(t *testing.T) []string {
	t.Helper()
	verb := regexp.MustCompile(`%[-+# 0-9.]*[a-zA-Z]`)
	all := []string{syscall.EACCES.Error(), syscall.EROFS.Error(), syscall.ENOSPC.Error(), "panic: "}
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatalf("%s: %s: %v", s.name, lit.Value, err)
				}
				all = append(all, verb.ReplaceAllString(text, "…"))
			}
			return true
		})
	}
	return all
}

// TestWhereClausesAre proves that the table from features to files in the design
// page is right: each function or type is declared in its file, and its
// declaration, with the comment, names the clauses.
func TestWhereClausesAre(t *testing.T) {
	text, err := os.ReadFile("../../docs/design/broker.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "## Where a clause is carried out")
	if !ok {
		t.Fatal("docs/design/broker.md has no table of clauses")
	}
	row := regexp.MustCompile("(?m)^\\| [^|]+ \\| (MQTT-[^|]+) \\| `([^`]+)` \\| `([^`]+)` \\|$")
	clauses := map[string]bool{}
	for _, m := range row.FindAllStringSubmatch(table, -1) {
		declaration := declarationOf(t, "../../"+m[3], m[2])
		if declaration == "" {
			t.Errorf("%s declares no %s", m[3], m[2])
		}
		for clause := range strings.SplitSeq(m[1], ", ") {
			clauses[clause] = true
			if !regexp.MustCompile(regexp.QuoteMeta(clause) + `\b`).MatchString(declaration) {
				t.Errorf("%s: %s does not name %s", m[3], m[2], clause)
			}
		}
	}
	if rows := strings.Count(table, "\n| ") - 2; rows != len(row.FindAllString(table, -1)) {
		t.Errorf("%d of %d rows have clauses, a function and a file", len(row.FindAllString(table, -1)), rows)
	}
	if len(clauses) < 40 {
		t.Errorf("the table has %d clauses, want 40 at least", len(clauses))
	}
}

// declarationOf returns the text of a declaration with its comment, "" if the file
// has none. A method is called Type.method.
func declarationOf(t *testing.T, name, what string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
		return ""
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	cut := func(d ast.Decl, doc *ast.CommentGroup) string {
		from := d.Pos()
		if doc != nil {
			from = doc.Pos()
		}
		return string(text[set.Position(from).Offset:set.Position(d.End()).Offset])
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if declared := receiverOf(d) + d.Name.Name; declared == what {
				return cut(d, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if s, ok := spec.(*ast.TypeSpec); ok && s.Name.Name == what {
					return cut(d, d.Doc)
				}
			}
		}
	}
	return ""
}

// receiverOf is the type that a method belongs to, with a dot; "" for a function.
func receiverOf(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	x := d.Recv.List[0].Type
	for {
		switch y := x.(type) {
		case *ast.StarExpr:
			x = y.X
		case *ast.IndexExpr:
			x = y.X
		case *ast.Ident:
			return y.Name + "."
		default:
			return ""
		}
	}
}
