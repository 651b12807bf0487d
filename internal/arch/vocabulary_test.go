package arch

import (
	"go/ast"
	"go/token"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// privateWords maps a directory to how many names it declares with a word that
// docs/design/glossary.md doesn't allow, and unclear to how many comments it has
// that say "tells that" of what is so. The figures only fall: whoever renames
// something lowers them.
var (
	privateWords = map[string]int{
		"bench": 1,
	}
	unclear = map[string]int{}
)

// TestVocabulary holds the names that production code declares, and its files, to
// the glossary. A name counts once in a package.
//
//	go test ./internal/arch -run Vocabulary -v            # lists what is left
//	go test ./internal/arch -run Vocabulary/broker -v     # of one package
func TestVocabulary(t *testing.T) {
	instead := bannedWords(t)
	names, comments := map[string]map[string]string{}, map[string][]string{}
	for _, s := range sources(t) {
		if names[s.dir()] == nil {
			names[s.dir()] = map[string]string{}
		}
		declared(s.file, func(name string) {
			for _, word := range wordsOf(name) {
				if better, banned := instead[word]; banned {
					names[s.dir()][name] = better
				}
			}
		})
		for _, group := range s.file.Comments {
			for _, found := range unclearPhrase.FindAllString(strings.Join(strings.Fields(group.Text()), " "), -1) {
				comments[s.dir()] = append(comments[s.dir()], s.set.Position(group.Pos()).String()+": "+found)
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(names)) {
		in := strings.TrimPrefix(dir, "internal/")
		t.Run(in, func(t *testing.T) {
			for _, name := range slices.Sorted(maps.Keys(names[dir])) {
				t.Logf("%s: say %s", name, names[dir][name])
			}
			for _, c := range comments[dir] {
				t.Log(c)
			}
			fits(t, "names with private words", len(names[dir]), privateWords[in])
			fits(t, `comments that "tell"`, len(comments[dir]), unclear[in])
		})
	}
}

// TestGlossaryHasNamesOfTheCode proves that the glossary's last columns, as far as
// its words are in backquotes, have names that are declared, or files.
func TestGlossaryHasNamesOfTheCode(t *testing.T) {
	text, err := os.ReadFile("../../docs/design/glossary.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, s := range sources(t) {
		known[path.Base(s.name)] = true
		declared(s.file, func(name string) { known[name] = true })
	}
	terms, _, _ := strings.Cut(string(text), "## How names and comments are made")
	name, checked := regexp.MustCompile("`([a-z]+\\.go|(?:[A-Za-z]+\\.)?[A-Za-z]+)`"), 0
	for line := range strings.Lines(terms) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		for _, m := range name.FindAllStringSubmatch(cells[3], -1) {
			checked++
			if word := m[1]; !known[word] && !known[word[strings.Index(word, ".")+1:]] {
				t.Errorf("the glossary has %s for %s, which nothing is called", m[0], strings.TrimSpace(cells[1]))
			}
		}
	}
	if checked < 60 {
		t.Errorf("%d names found in the glossary, want 60 at least", checked)
	}
}

// fits fails unless a count is what the table says.
func fits(t *testing.T, what string, n, table int) {
	t.Helper()
	if n > table {
		t.Errorf("%s: %d, at most %d may be", what, n, table)
	} else if n < table {
		t.Errorf("%s: %d, lower the %d of the table", what, n, table)
	}
}

// unclearPhrase finds the beginning of a sentence that tells instead of reporting
// whether.
var unclearPhrase = regexp.MustCompile(`\b\w+ tells (?:that|whether)\b`)

// bannedWords reads the glossary: the words that names don't have, and what to
// say instead.
func bannedWords(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/design/glossary.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "## Words that names don't have")
	if !ok {
		t.Fatal("the glossary has no list of words that names don't have")
	}
	words, instead := regexp.MustCompile("`([a-z]+)`"), map[string]string{}
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			for _, m := range words.FindAllStringSubmatch(cells[1], -1) {
				instead[m[1]] = strings.TrimSpace(cells[2])
			}
		}
	}
	if len(instead) < 20 {
		t.Fatalf("%d words found in the glossary's list", len(instead))
	}
	return instead
}

var wordPattern = regexp.MustCompile(`[A-Z]+(?:[a-z]+)?|[a-z]+`)

// wordsOf splits a name into its words, in small letters.
func wordsOf(name string) []string {
	words := wordPattern.FindAllString(name, -1)
	for i, w := range words {
		words[i] = strings.ToLower(w)
	}
	return words
}

// declared yields each name that a file declares.
func declared(f *ast.File, yield func(name string)) {
	all := func(ids []*ast.Ident) {
		for _, id := range ids {
			yield(id.Name)
		}
	}
	defined := func(exprs ...ast.Expr) {
		for _, e := range exprs {
			if id, ok := e.(*ast.Ident); ok {
				yield(id.Name)
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			yield(n.Name.Name)
		case *ast.TypeSpec:
			yield(n.Name.Name)
		case *ast.ValueSpec:
			all(n.Names)
		case *ast.Field:
			all(n.Names)
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				defined(n.Lhs...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				defined(n.Key, n.Value)
			}
		}
		return true
	})
}
