package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mutant is one change of one file.
type mutant struct {
	number   int // set when it is chosen
	file     string
	line     int
	from, to int    // of the text that is changed, in bytes
	name     string // tells mutants apart, also when lines move
	with     string // what stands there instead; %d is its number
	seen     string // by which test, "" if none has
	known    string // why none needs to see it, "" if one should
}

// on is what switches it on.
func (m *mutant) on() string { return "MIDGE_MUTANT=" + strconv.Itoa(m.number) }

// find lists all mutants, in the order of the files.
func find(only *regexp.Regexp) (all []mutant, err error) {
	var packages []string
	for pkg := range tested {
		packages = append(packages, pkg)
	}
	slices.Sort(packages)
	for _, pkg := range packages {
		files, err := filepath.Glob(filepath.Join(pkg, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			tree := token.NewFileSet()
			parsed, err := parser.ParseFile(tree, file, text, 0)
			if err != nil {
				return nil, err
			}
			f := finder{file: file, text: text, tree: tree, same: map[string]int{}}
			for _, d := range parsed.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
					f.function = fn.Name.Name
					ast.Inspect(fn.Body, f.visit)
				}
			}
			all = append(all, f.found...)
		}
	}
	return slices.DeleteFunc(all, func(m mutant) bool {
		return !only.MatchString(fmt.Sprintf("%s:%d: %s", m.file, m.line, m.name))
	}), nil
}

type finder struct {
	file     string
	text     []byte
	tree     *token.FileSet
	function string
	same     map[string]int // how often a name was given
	found    []mutant
}

// weaker are comparisons beside others.
var weaker = map[token.Token]string{token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">"}

func (f *finder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IfStmt:
		f.flip(n.Cond)
	case *ast.ForStmt:
		if n.Cond != nil {
			f.flip(n.Cond)
		}
	case *ast.BinaryExpr:
		switch {
		case n.Op == token.LAND || n.Op == token.LOR:
			f.flip(n.X)
			f.flip(n.Y)
		case weaker[n.Op] != "" && !calls(n):
			x, y := f.of(n.X), f.of(n.Y)
			f.add(n, "another comparison", fmt.Sprintf("mutantIf(%%d, %s, %s %s %s)", f.of(n), x, weaker[n.Op], y))
		}
	case *ast.ReturnStmt:
		for _, v := range n.Results {
			if id, ok := v.(*ast.Ident); ok && (id.Name == "true" || id.Name == "false") {
				f.add(v, "the other answer", "mutantFlip(%d, "+id.Name+")")
			}
		}
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, c := range n.Body.List {
				for _, cond := range c.(*ast.CaseClause).List {
					f.flip(cond)
				}
			}
		}
	case *ast.BlockStmt:
		f.leaveOut(n.List)
	case *ast.CaseClause:
		f.leaveOut(n.Body)
	case *ast.CommClause:
		f.leaveOut(n.Body)
	}
	return true
}

// leaveOut leaves out statements, one at a time.
func (f *finder) leaveOut(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt:
			if strings.HasPrefix(f.of(s), "panic(") {
				continue // a function may end with it
			}
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE {
				continue // what it declares is used
			}
		case *ast.IncDecStmt:
		default:
			continue
		}
		f.add(s, "left out", "if mutantKeep(%d) { "+f.of(s)+" }")
	}
}

func (f *finder) flip(cond ast.Expr) { f.add(cond, "the opposite", "mutantFlip(%d, "+f.of(cond)+")") }

func (f *finder) of(n ast.Node) string {
	return string(f.text[f.tree.Position(n.Pos()).Offset:f.tree.Position(n.End()).Offset])
}

func (f *finder) add(n ast.Node, what, with string) {
	at, text := f.tree.Position(n.Pos()), f.of(n)
	name := fmt.Sprintf("%s %s: %s: %s", filepath.ToSlash(f.file), f.function, what, strings.Join(strings.Fields(text), " "))
	f.same[name]++
	if i := f.same[name]; i > 1 {
		name += fmt.Sprintf(" (%d)", i)
	}
	f.found = append(f.found, mutant{file: f.file, line: at.Line, from: at.Offset, to: at.Offset + len(text), name: name, with: with})
}

// calls tells whether an expression calls a function, which might not do for
// twice.
func calls(n ast.Node) (any bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		_, is := n.(*ast.CallExpr)
		any = any || is
		return !any
	})
	return any
}

// overlaps tells whether two can't be built in together.
func (m *mutant) overlaps(o *mutant) bool {
	return m.file == o.file && m.from < o.to && o.from < m.to
}

// changed returns the text of a file with its mutants built in.
func changed(text []byte, here []mutant) []byte {
	slices.SortFunc(here, func(a, b mutant) int { return cmp.Compare(b.from, a.from) })
	for _, m := range here {
		with := strings.Replace(m.with, "%d", strconv.Itoa(m.number), 1)
		text = slices.Concat(text[:m.from], []byte(with), text[m.to:])
	}
	return text
}
