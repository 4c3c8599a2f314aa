// Package mutation applies deliberate bugs to copies of the source, for mutation tests. An Edit
// finds code by a pattern on the syntax tree of a function and changes it. Apply writes an overlay
// with which the Go tool compiles the changed copies.
//
// A pattern is a Go expression, a statement or a list of consecutive statements. It matches code
// with the same syntax tree, whatever the formatting and the comments. Two kinds of identifiers
// in a pattern are metavariables:
//
//   - `_name` matches any expression or name, and the same one wherever the pattern repeats it;
//   - `___name` matches any number of elements of a list: statements, arguments, elements of a
//     composite literal.
//
// In the text of the change, a metavariable stands for the code that it matched. So an edit spells
// out only what makes its place unique; everything else can be renamed, moved to another file of
// the package or formatted in another way. A pattern that does not match exactly once is an error.
package mutation

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Place is where an edit looks for its pattern.
type Place struct{ dir, function string }

// In names a function by the directory of its package, relative to the root of the repository, and
// by its name: `Type.method`, or `method` alone if no other function of the package has that name.
// The empty name stands for all declarations outside of functions.
func In(dir, function string) Place { return Place{dir, function} }

func (p Place) String() string { return p.dir + " " + cmp.Or(p.function, "outside of functions") }

// Edit changes the one match of a pattern.
type Edit struct {
	place      Place
	action     action
	find, text string
}

type action int

const (
	replace action = iota
	remove
	insertBefore
	insertAfter
)

// Replace puts `with` in place of the code that `find` matches. If both are expressions, find
// matches an expression, otherwise statements.
func (p Place) Replace(find, with string) Edit { return Edit{p, replace, find, with} }

// Delete removes the statements that `find` matches.
func (p Place) Delete(find string) Edit { return Edit{p, remove, find, ""} }

// InsertBefore puts statements before the statements that `find` matches.
func (p Place) InsertBefore(find, statements string) Edit {
	return Edit{p, insertBefore, find, statements}
}

// InsertAfter puts statements after the statements that `find` matches.
func (p Place) InsertAfter(find, statements string) Edit {
	return Edit{p, insertAfter, find, statements}
}

// Apply makes the edits, one after the other, in copies of files below root. It writes the copies
// and a description for the Go tool's -overlay to dir, and returns the path of the description.
func Apply(root, dir string, edits ...Edit) (overlay string, err error) {
	changed, err := apply(root, edits)
	if err != nil {
		return "", err
	}
	return writeOverlay(dir, changed)
}

// apply returns the changed files by their paths.
func apply(root string, edits []Edit) (map[string][]byte, error) {
	changed := map[string][]byte{}
	for _, e := range edits {
		if err := e.apply(root, changed); err != nil {
			return nil, fmt.Errorf("%v: %w", e.place, err)
		}
	}
	return changed, nil
}

// apply makes the edit in the file of the function: in the version in changed, if there is one.
func (e Edit) apply(root string, changed map[string][]byte) error {
	find, err := parse(e.find)
	if err != nil {
		return err
	}
	text, err := parse(e.text)
	if err != nil {
		return err
	}
	if e.action != replace || find.expression == nil || text.expression == nil {
		find.expression, text.expression = nil, nil
	}
	all, err := declarations(root, e.place.dir, changed)
	if err != nil {
		return err
	}
	found, err := e.place.choose(all)
	if err != nil {
		return err
	}
	var m match
	var at *declaration
	var where []string
	for _, d := range found {
		for _, m = range find.find(d.node, bindings{}) {
			at = d
			where = append(where, d.files.Position(m.from).String())
		}
	}
	if len(where) != 1 {
		return fmt.Errorf("the pattern matches %d times, not once: %s\n%s\nadapt it to the source of %v",
			len(where), strings.Join(where, ", "), strings.TrimSpace(e.find), names(found))
	}
	changed[at.path], err = e.splice(at, m, text)
	return err
}

// splice returns the source of the file with the edit made. It checks that the parser takes the
// rendered text for one piece: an operator of higher precedence next to it, or to a metavariable
// in it, would bind a part of it.
func (e Edit) splice(at *declaration, m match, text pattern) ([]byte, error) {
	rendered, err := render(strings.TrimSpace(e.text), m.bound, at)
	if err != nil {
		return nil, err
	}
	from, to := at.offset(m.from), at.offset(m.to)
	before, matched, after := string(at.source[:from]), string(at.source[from:to]), string(at.source[to:])
	switch e.action {
	case insertBefore:
		after = "\n" + matched + after
	case insertAfter:
		before += matched + "\n"
	}
	source := []byte(before + rendered + after)
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, at.path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("the changed source cannot be parsed: %w", err)
	}
	whole := func(m match) bool {
		start, end := files.Position(m.from).Offset, files.Position(m.to).Offset
		return start == len(before) && end == start+len(rendered)
	}
	if rendered != "" && !slices.ContainsFunc(text.find(file, m.bound), whole) {
		return nil, fmt.Errorf("an operator next to %q or to a metavariable in it would bind a part: use parentheses", rendered)
	}
	return source, nil
}

// declaration is a function, or a declaration outside of functions (name ""), and its file.
type declaration struct {
	name, receiver string
	node           ast.Node
	path           string
	source         []byte
	files          *token.FileSet
}

func (d *declaration) offset(pos token.Pos) int { return d.files.Position(pos).Offset }

// declarations parses the package in dir, without its tests.
func declarations(root, dir string, changed map[string][]byte) ([]*declaration, error) {
	entries, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		return nil, fmt.Errorf("read the package that the edit names: %w", err)
	}
	var all []*declaration
	for _, entry := range entries {
		path := filepath.Join(root, dir, entry.Name())
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			continue
		}
		if fits, err := build.Default.MatchFile(filepath.Dir(path), entry.Name()); err != nil || !fits {
			continue // for another platform
		}
		source, ok := changed[path]
		if !ok {
			if source, err = os.ReadFile(path); err != nil {
				return nil, err
			}
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, node := range file.Decls {
			d := &declaration{node: node, path: path, source: source, files: files}
			if f, ok := node.(*ast.FuncDecl); ok {
				d.name, d.receiver = f.Name.Name, receiver(f)
			}
			all = append(all, d)
		}
	}
	return all, nil
}

// receiver is the name of the type of which f is a method, "" for a function.
func receiver(f *ast.FuncDecl) (name string) {
	if f.Recv != nil {
		ast.Inspect(f.Recv.List[0].Type, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && name == "" {
				name = id.Name
			}
			return name == ""
		})
	}
	return name
}

func (d *declaration) String() string {
	if d.receiver != "" {
		return d.receiver + "." + d.name
	}
	return d.name
}

func names(all []*declaration) string {
	var b []string
	for _, d := range all {
		if d.name != "" {
			b = append(b, d.String())
		}
	}
	return strings.Join(b, ", ")
}

// choose returns the declarations that the place names: one function, or all that are none.
func (p Place) choose(all []*declaration) ([]*declaration, error) {
	var found []*declaration
	for _, d := range all {
		if d.name == p.function || d.name != "" && d.String() == p.function {
			found = append(found, d)
		}
	}
	switch {
	case p.function == "" || len(found) == 1:
		return found, nil
	case len(found) > 1:
		return nil, fmt.Errorf("several functions have this name; write Type.method: %s", names(found))
	}
	slices.SortStableFunc(all, func(a, b *declaration) int { return cmp.Compare(p.distance(a), p.distance(b)) })
	return nil, fmt.Errorf("the package has no such function; those with similar names are %s", names(all[:min(5, len(all))]))
}

// distance is how much d's name differs from the one that the place names.
func (p Place) distance(d *declaration) int {
	if d.name == "" {
		return 1 << 20
	}
	return min(distance(p.function, d.name), distance(p.function, d.String()))
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
