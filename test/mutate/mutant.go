package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// mutant is one change of one file.
type mutant struct {
	number   int // set when it is chosen
	file     string
	line     int
	function string
	from, to int    // of the text that is changed, in bytes
	what     string // in words
	text     string // of the place
	with     string // what stands there instead; %d is its number
}

// name tells mutants apart, also when lines move.
func (m *mutant) name() string {
	return fmt.Sprintf("%s %s: %s: %s", filepath.ToSlash(m.file), m.function, m.what, m.text)
}

// find lists all mutants, in the order of the files.
func find(only string) (all []mutant, err error) {
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
			f := finder{file: file, text: text, tree: tree}
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
		return !strings.Contains(m.name(), only) && !strings.Contains(fmt.Sprintf("%s:%d", m.file, m.line), only)
	}), nil
}

type finder struct {
	file     string
	text     []byte
	tree     *token.FileSet
	function string
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
	case *ast.BlockStmt:
		for _, s := range n.List {
			switch s := s.(type) {
			case *ast.ExprStmt, *ast.IncDecStmt:
				f.add(s, "left out", "if mutantKeep(%d) { "+f.of(s)+" }")
			case *ast.AssignStmt:
				if s.Tok != token.DEFINE {
					f.add(s, "left out", "if mutantKeep(%d) { "+f.of(s)+" }")
				}
			}
		}
	case *ast.FuncLit:
		return true
	}
	return true
}

func (f *finder) flip(cond ast.Expr) { f.add(cond, "the opposite", "mutantFlip(%d, "+f.of(cond)+")") }

func (f *finder) of(n ast.Node) string {
	return string(f.text[f.tree.Position(n.Pos()).Offset:f.tree.Position(n.End()).Offset])
}

func (f *finder) add(n ast.Node, what, with string) {
	at, text := f.tree.Position(n.Pos()), f.of(n)
	f.found = append(f.found, mutant{
		file: f.file, line: at.Line, function: f.function, from: at.Offset, to: at.Offset + len(text),
		what: what, text: strings.Join(strings.Fields(text), " "), with: with,
	})
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
