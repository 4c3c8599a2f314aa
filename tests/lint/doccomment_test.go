package lint

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

// A doc comment begins with the name of what it documents: "Name does …", or "A Name is …" for a
// type. A renaming that leaves the comment behind fails here.
func TestDocCommentsBeginWithTheName(t *testing.T) {
	files, all := sources(t)
	for _, s := range all {
		for _, d := range s.file.Decls {
			name, doc := documented(d)
			if name == "" || doc == nil || beginsWith(doc.Text(), name) {
				continue
			}
			line, _, _ := strings.Cut(doc.Text(), "\n")
			t.Errorf("%s:%d: the comment of %s begins %q", s.path, files.Position(doc.Pos()).Line, name, line)
		}
	}
}

// documented returns the name and the doc comment of a function or a type; no name for the rest and
// for tests, whose comments tell a story.
func documented(d ast.Decl) (name string, doc *ast.CommentGroup) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		for _, prefix := range []string{"Test", "Fuzz", "Benchmark", "Example"} {
			if strings.HasPrefix(d.Name.Name, prefix) {
				return "", nil
			}
		}
		return d.Name.Name, d.Doc
	case *ast.GenDecl:
		if d.Tok == token.TYPE && len(d.Specs) == 1 {
			return d.Specs[0].(*ast.TypeSpec).Name.Name, d.Doc
		}
	}
	return "", nil
}

func beginsWith(text, name string) bool {
	for _, article := range []string{"A ", "An ", "The "} {
		text = strings.TrimPrefix(text, article)
	}
	rest, ok := strings.CutPrefix(text, name)
	return ok && (rest == "" || !isWordByte(rest[0]))
}

func isWordByte(b byte) bool {
	return b == '_' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

func TestBeginsWith(t *testing.T) {
	for text, want := range map[string]bool{
		"Log appends.": true, "A Log is a file.": true, "Log: a file.": true, "Log": true,
		"Logs appends.": false, "Appends to Log.": false, "": false,
	} {
		if got := beginsWith(text, "Log"); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
