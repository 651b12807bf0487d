package arch

import (
	"go/ast"
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
			if !message.MatchString(quote) || strings.HasPrefix(quote, "midge ") || strings.HasPrefix(quote, "systemctl ") {
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
