// Package lint holds the rules of the house that a compiler does not see: imports point down only, and what must be
// deterministic touches nothing that is not.
package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

const module = "github.com/troupe-raft/troupe"

// rooms from the top down: a package may import what stands below its own room, and within its room. The longest prefix
// that fits decides.
var rooms = []struct {
	prefix string
	floor  int
}{
	{"cmd", 8}, {"kv", 7}, {"", 6}, {"supervisor", 5}, {"actors/live", 4},
	{"actors/node", 3}, {"actors/logstore", 3}, {"actors/machine", 3}, {"actors/replicator", 3}, {"actors", 2},
	{"persistence", 1}, {"handle", 1}, {"raft", 0}, {"messages", -1},
}

func room(pkg string) (prefix string, floor int) {
	best := -1
	for _, r := range rooms {
		fits := pkg == r.prefix || strings.HasPrefix(pkg, r.prefix+"/")
		if fits && len(r.prefix) > best {
			prefix, floor, best = r.prefix, r.floor, len(r.prefix)
		}
	}
	return
}

// forbidden are, by import path, the names that deterministic code may not use. An empty list forbids the package.
var forbidden = map[string][]string{
	"time":         {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
	"math/rand":    nil,
	"math/rand/v2": nil,
	"crypto/rand":  nil,
	"net":          nil,
	"net/http":     nil,
	"os/exec":      nil,
}

func deterministic(pkg string) bool {
	for _, p := range []string{"raft", "persistence", "actors", "handle"} {
		if pkg == p || strings.HasPrefix(pkg, p+"/") {
			return !strings.HasPrefix(pkg, "actors/live")
		}
	}
	return false
}

// source is one file of the product: not a test, not generated.
type source struct {
	pkg, path string
	file      *ast.File
}

func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	files := token.NewFileSet()
	var all []source
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if entry.IsDir() {
			if name == "tests" || name == "tools" || name != "." && strings.HasPrefix(filepath.Base(name), ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".pb.go") {
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(name))
		if pkg == "." {
			pkg = ""
		}
		all = append(all, source{pkg, name, file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d files found: the walk is broken", len(all))
	}
	return files, all
}

func TestImportsPointDownOnly(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		prefix, floor := room(s.pkg)
		for _, imported := range s.file.Imports {
			path := strings.Trim(imported.Path.Value, `"`)
			if path != module && !strings.HasPrefix(path, module+"/") {
				continue
			}
			other := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
			if strings.HasPrefix(other, "tests/") && s.pkg != "cmd/troupe-sim" {
				t.Errorf("%s imports %s: only cmd/troupe-sim may import from tests/", s.path, path)
				continue
			}
			otherPrefix, otherFloor := room(other)
			if otherFloor > floor || otherFloor == floor && otherPrefix != prefix {
				t.Errorf("%s imports %s: imports point down only", s.path, path)
			}
		}
	}
}

func TestTheRulesAndTheVocabularyKnowNothingOfActors(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		if prefix, _ := room(s.pkg); prefix != "raft" && prefix != "messages" && prefix != "persistence" {
			continue
		}
		for _, imported := range s.file.Imports {
			if strings.Contains(imported.Path.Value, "protoactor-go") {
				t.Errorf("%s imports %s", s.path, imported.Path.Value)
			}
		}
	}
}

func TestDeterministicCodeTakesEverythingFromItsEnvironment(t *testing.T) {
	files, all := sources(t)
	checked := 0
	for _, s := range all {
		// The operating system's filesystem is the live implementation of the seam, not a user of it.
		if !deterministic(s.pkg) || strings.HasPrefix(filepath.Base(s.path), "os") && s.pkg == "persistence/vfs" {
			continue
		}
		checked++
		imports := map[string]string{}
		for _, imported := range s.file.Imports {
			path := strings.Trim(imported.Path.Value, `"`)
			name := filepath.Base(path)
			if imported.Name != nil {
				name = imported.Name.Name
			}
			imports[name] = path
			if names, bad := forbidden[path]; bad && names == nil {
				t.Errorf("%s imports %s", s.path, path)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine", files.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Obj == nil {
					for _, name := range forbidden[imports[x.Name]] {
						if n.Sel.Name == name {
							t.Errorf("%s: %s.%s", files.Position(n.Pos()), x.Name, name)
						}
					}
				}
			}
			return true
		})
	}
	if checked < 20 {
		t.Fatalf("only %d files checked: the rule does not see what it is for", checked)
	}
}

// A function over 100 lines, or a file over 600, is a place where nobody finds anything.
func TestFilesAndFunctionsStayReadable(t *testing.T) {
	files, all := sources(t)
	var long []string
	for _, s := range all {
		if n := files.File(s.file.Pos()).LineCount(); n > 600 {
			t.Errorf("%s has %d lines", s.path, n)
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				if n := files.Position(f.End()).Line - files.Position(f.Pos()).Line + 1; n > 100 {
					long = append(long, s.path+": "+f.Name.Name)
				}
			}
		}
	}
	sort.Strings(long)
	if len(long) > 0 {
		t.Errorf("functions over 100 lines: %v", long)
	}
}
