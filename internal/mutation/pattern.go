package mutation

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"maps"
	"reflect"
	"strings"
)

// pattern is the syntax tree of a pattern or of the text that replaces it.
type pattern struct {
	statements []ast.Node
	expression ast.Node // set if the text is one expression: find looks for it, not for a statement
}

func parse(text string) (pattern, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", "package p; func _() {\n"+text+"\n}", parser.SkipObjectResolution)
	if err != nil {
		return pattern{}, fmt.Errorf("parse an expression or statements: %w\n%s", err, text)
	}
	p := pattern{statements: nodes(reflect.ValueOf(file.Decls[0].(*ast.FuncDecl).Body.List))}
	if len(p.statements) == 1 {
		if s, ok := p.statements[0].(*ast.ExprStmt); ok {
			p.expression = s.X
		}
	}
	return p, nil
}

// match is a range of the source and the code that the metavariables matched in it.
type match struct {
	from, to token.Pos
	bound    bindings
}

// find returns the matches below root with which the given bindings agree.
func (p pattern) find(root ast.Node, given bindings) (found []match) {
	try := func(pattern, source []ast.Node) bool {
		b := maps.Clone(given)
		matches := len(source) > 0 && b.list(pattern, source)
		if matches {
			found = append(found, match{source[0].Pos(), source[len(source)-1].End(), b})
		}
		return matches
	}
	ast.Inspect(root, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok && p.expression != nil {
			try([]ast.Node{p.expression}, []ast.Node{e})
		}
		if p.expression != nil {
			return true
		}
		list := statements(n)
		for from := range list {
			for to := len(list); to > from && !try(p.statements, list[from:to]); to-- {
			}
		}
		return true
	})
	return found
}

// statements returns the list of statements that n holds, if it holds one.
func statements(n ast.Node) []ast.Node {
	switch n := n.(type) {
	case *ast.BlockStmt:
		return nodes(reflect.ValueOf(n.List))
	case *ast.CaseClause:
		return nodes(reflect.ValueOf(n.Body))
	case *ast.CommClause:
		return nodes(reflect.ValueOf(n.Body))
	}
	return nil
}

func nodes(list reflect.Value) []ast.Node {
	all := make([]ast.Node, list.Len())
	for i := range all {
		all[i] = list.Index(i).Interface().(ast.Node)
	}
	return all
}

// bindings map metavariables to the code that they matched. With nil bindings no identifier is a
// metavariable, so that only equal trees match.
type bindings map[string][]ast.Node

func (b bindings) bind(name string, source []ast.Node) bool {
	if bound, ok := b[name]; ok {
		return bindings(nil).list(bound, source)
	}
	b[name] = source
	return true
}

// list matches the whole source. A metavariable for a list matches as many elements as possible.
func (b bindings) list(pattern, source []ast.Node) bool {
	if len(pattern) == 0 {
		return len(source) == 0
	}
	name := metavariable(pattern[0])
	if b == nil || !strings.HasPrefix(name, "___") {
		return len(source) > 0 && b.node(pattern[0], source[0]) && b.list(pattern[1:], source[1:])
	}
	for k := len(source); k >= 0; k-- {
		try := maps.Clone(b)
		if try.bind(name, source[:k]) && try.list(pattern[1:], source[k:]) {
			maps.Copy(b, try)
			return true
		}
	}
	return false
}

func (b bindings) node(pattern, source ast.Node) bool {
	if id, ok := pattern.(*ast.Ident); ok && b != nil && metavariable(id) != "" {
		_, ok := source.(ast.Expr)
		return ok && b.bind(id.Name, []ast.Node{source})
	}
	p, s := reflect.ValueOf(pattern).Elem(), reflect.ValueOf(source).Elem()
	if p.Type() != s.Type() {
		return false
	}
	for i := range p.NumField() {
		if !b.field(p.Field(i), s.Field(i)) {
			return false
		}
	}
	return true
}

// field matches one field of two nodes of the same type. Positions match if both are set or both
// are not: the position of the dots is all that tells f(x...) from f(x).
func (b bindings) field(p, s reflect.Value) bool {
	if _, ok := p.Interface().(token.Pos); ok {
		return p.IsZero() == s.IsZero()
	}
	switch p.Kind() {
	case reflect.Slice:
		return b.list(nodes(p), nodes(s))
	case reflect.Interface, reflect.Pointer:
		if p.IsNil() || s.IsNil() {
			return p.IsNil() && s.IsNil()
		}
		return b.node(p.Interface().(ast.Node), s.Interface().(ast.Node))
	}
	return p.Equal(s)
}

// metavariable returns the name of the metavariable that n is, "" if it is none.
func metavariable(n ast.Node) string {
	if s, ok := n.(*ast.ExprStmt); ok {
		n = s.X
	}
	if id, ok := n.(*ast.Ident); ok && id.Name != "_" && strings.HasPrefix(id.Name, "_") {
		return id.Name
	}
	return ""
}

// render returns text with the source of the matched code in place of the metavariables. It leaves
// out the comma after an empty list.
func render(text string, bound bindings, in *declaration) (string, error) {
	files := token.NewFileSet()
	file := files.AddFile("", -1, len(text))
	var s scanner.Scanner
	s.Init(file, []byte(text), nil, scanner.ScanComments)
	var b strings.Builder
	done, empty := 0, false
	for {
		pos, tok, name := s.Scan()
		at := file.Offset(pos)
		if empty && tok == token.COMMA {
			done = at + 1
		}
		empty = false
		if tok == token.EOF {
			return b.String() + text[done:], nil
		}
		if tok != token.IDENT || metavariable(&ast.Ident{Name: name}) == "" {
			continue
		}
		source, ok := bound[name]
		if !ok {
			return "", fmt.Errorf("the metavariable %s is not in the pattern", name)
		}
		b.WriteString(text[done:at])
		done, empty = at+len(name), len(source) == 0
		if !empty {
			b.Write(in.source[in.offset(source[0].Pos()):in.offset(source[len(source)-1].End())])
		}
	}
}
