package lint

import (
	"go/ast"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// The limits of what a reader has to take in at a time.
const (
	maxFileLines      = 400
	maxFunctionLines  = 60
	maxCommentColumns = 100 // with the indentation, of which a tab counts as one
)

// Generated code and testdata are excepted.
func TestSizeLimits(t *testing.T) {
	files, all := sources(t)
	for _, s := range all {
		if n := files.File(s.file.Pos()).LineCount(); n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d: split it by what it is about", s.path, n, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || s.isTest() {
				continue // the table of a test may be long
			}
			if n := files.Position(f.End()).Line - files.Position(f.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, more than %d: split it", s.path, f.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

func TestCommentsAreAtMost100ColumnsWide(t *testing.T) {
	files, all := sources(t)
	for _, s := range all {
		text, err := os.ReadFile("../../" + s.path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				first := files.Position(c.Pos()).Line
				for n := first; n < first+1+strings.Count(c.Text, "\n"); n++ {
					if columns := commentColumns(lines[n-1]); columns > maxCommentColumns {
						t.Errorf("%s:%d: the comment is %d columns wide, more than %d", s.path, n, columns, maxCommentColumns)
					}
				}
			}
		}
	}
}

// commentColumns returns the width of a line that holds a comment. It is 0 if the comment follows
// code, or is a directive, which cannot be wrapped.
func commentColumns(line string) int {
	text := strings.TrimSpace(line)
	if !strings.HasPrefix(text, "//") || strings.HasPrefix(text, "//go:") {
		return 0
	}
	return utf8.RuneCountInString(line)
}
