package sim

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// failCalls are the names of invariants with which the package's source calls World.fail.
func failCalls(t *testing.T) map[string]token.Position {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	names, files := map[string]token.Position{}, token.NewFileSet()
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "fail" {
				return true
			}
			name, isName := call.Args[0].(*ast.BasicLit)
			if _, hasFormat := call.Args[1].(*ast.BasicLit); isName && hasFormat && !strings.Contains(name.Value, "%") {
				text, _ := strconv.Unquote(name.Value)
				names[text] = files.Position(call.Pos())
			}
			return true
		})
	}
	return names
}

func TestEveryPromiseIsListedAndEveryListedOneCanFail(t *testing.T) {
	used, listed := failCalls(t), map[string]bool{"script": true} // the script's name is passed on by Scene.fail
	for _, i := range Invariants {
		if i.Description == "" {
			t.Errorf("%q has no line", i.Name)
		}
		if _, ok := used[i.Name]; !ok && i.Name != "script" {
			t.Errorf("nothing fails with %q", i.Name)
		}
		listed[i.Name] = true
	}
	for name, at := range used {
		if !listed[name] {
			t.Errorf("%v: %q is not in Invariants", at, name)
		}
	}
	if len(used) < 20 {
		t.Fatalf("only %d names found: the search is broken", len(used))
	}
}

func TestEveryFaultHasANameAndALine(t *testing.T) {
	for _, f := range FaultKinds() {
		if f.String() == "" || f.Description() == "" {
			t.Errorf("fault %d is called %q: %q", int(f), f.String(), f.Description())
		}
		if back, err := ParseFault(f.String()); err != nil || back != f {
			t.Errorf("%v is read as %v: %v", f, back, err)
		}
	}
}

// A second story of the same name would never be played.
func TestScenariosHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, sc := range Scenarios() {
		if seen[sc.Name] {
			t.Errorf("two scenarios are called %s", sc.Name)
		}
		seen[sc.Name] = true
	}
}
