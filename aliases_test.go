package troupe_test

import (
	"flag"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var updateAliases = flag.Bool("update-aliases", false, "write the declarations of aliases into their comments")

// go doc shows an alias without its fields and methods. So the comment of an alias holds the
// declaration, which this test compares with the source:
//
//	go test -run AliasesShow -update-aliases .
func TestAliasesShowTheirDeclarations(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		updated := string(text)
		for _, a := range aliasesIn(t, file) {
			found++
			if !strings.Contains(updated, a.comment(t)) {
				if *updateAliases {
					updated = a.replaceComment(t, updated)
					continue
				}
				t.Errorf("%s: the comment of %s does not end with its declaration; run go test -run AliasesShow -update-aliases .", file, a.name)
			}
		}
		if updated != string(text) {
			if err := os.WriteFile(file, []byte(updated), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d aliases were found", found)
	}
}

// alias is a type of package troupe that another package declares.
type alias struct {
	name, folder, target string
	indent               string
}

func aliasesIn(t *testing.T, file string) (all []alias) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]string{}
	for _, i := range parsed.Imports {
		if folder, ours := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), "github.com/troupe-raft/troupe/"); ours {
			folders[filepath.Base(folder)] = folder
		}
	}
	for _, d := range parsed.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, s := range g.Specs {
			spec := s.(*ast.TypeSpec)
			target, ok := spec.Type.(*ast.SelectorExpr)
			if !ok || !spec.Assign.IsValid() {
				continue
			}
			a := alias{name: spec.Name.Name, folder: folders[target.X.(*ast.Ident).Name], target: target.Sel.Name}
			if g.Lparen.IsValid() {
				a.indent = "\t"
			}
			all = append(all, a)
		}
	}
	return all
}

// comment returns the end of the comment of the alias: the declaration, and the alias itself.
func (a alias) comment(t *testing.T) string {
	lines := []string{"//"}
	for _, line := range a.declaration(t) {
		lines = append(lines, strings.TrimRight("//\t"+line, "\t"))
	}
	text := ""
	for _, line := range lines {
		text += a.indent + line + "\n"
	}
	return text + a.typeLine()
}

func (a alias) typeLine() string {
	if a.indent == "" {
		return "type " + a.name + " = "
	}
	return a.indent + a.name + " = "
}

// replaceComment puts the declaration into the source in place of what is there.
func (a alias) replaceComment(t *testing.T, source string) string {
	t.Helper()
	before, after, ok := strings.Cut(source, "\n"+a.typeLine())
	if !ok {
		t.Fatalf("%s is not in the source as %q", a.name, a.typeLine())
	}
	lines := strings.Split(before, "\n")
	for len(lines) > 0 {
		last := strings.TrimPrefix(lines[len(lines)-1], a.indent)
		if last != "//" && !strings.HasPrefix(last, "//\t") {
			break
		}
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines, "\n") + "\n" + a.comment(t) + after
}

// declaration returns the exported part of the target's declaration, and its exported methods.
func (a alias) declaration(t *testing.T) (lines []string) {
	t.Helper()
	files := token.NewFileSet()
	for _, declared := range documentation(t, files, a.folder).Types {
		if declared.Name != a.target {
			continue
		}
		lines = append(lines, a.print(t, files, withoutComments(declared.Decl))...)
		for _, m := range declared.Methods {
			m.Decl.Doc, m.Decl.Body = nil, nil
			lines = append(lines, a.print(t, files, m.Decl)...)
		}
		return lines
	}
	t.Fatalf("%s has no type %s", a.folder, a.target)
	return nil
}

// documentation parses the package in a folder, without its tests.
func documentation(t *testing.T, files *token.FileSet, folder string) *doc.Package {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(filepath.FromSlash(folder), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	documented, err := doc.NewFromFiles(files, parsed, folder)
	if err != nil {
		t.Fatal(err)
	}
	return documented
}

// withoutComments removes the comments of fields and methods: go doc has those of the package.
func withoutComments(d *ast.GenDecl) *ast.GenDecl {
	d.Doc = nil
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			n.Doc, n.Comment = nil, nil
		case *ast.TypeSpec:
			n.Doc, n.Comment = nil, nil
		}
		return true
	})
	return d
}

func (a alias) print(t *testing.T, files *token.FileSet, node any) []string {
	t.Helper()
	var text strings.Builder
	config := printer.Config{Mode: printer.UseSpaces | printer.TabIndent, Tabwidth: 8}
	if err := config.Fprint(&text, token.NewFileSet(), node); err != nil {
		t.Fatal(err)
	}
	return strings.Split(text.String(), "\n")
}
