package sim_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/checker"
	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
)

// failCalls returns the names of invariants with which the source of the simulator calls Fail.
func failCalls(t *testing.T) map[string]token.Position {
	t.Helper()
	names, files := map[string]token.Position{}, token.NewFileSet()
	search := func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !strings.EqualFold(sel.Sel.Name, "fail") {
				return true
			}
			name, isName := call.Args[0].(*ast.BasicLit)
			if _, hasFormat := call.Args[1].(*ast.BasicLit); isName && hasFormat && !strings.Contains(name.Value, "%") {
				text, _ := strconv.Unquote(name.Value)
				names[text] = files.Position(call.Pos())
			}
			return true
		})
		return nil
	}
	for _, root := range []string{"../../internal/sim", "../../kv/simulation"} {
		if err := filepath.WalkDir(root, search); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func TestInvariantsAreListedAndCanFail(t *testing.T) {
	used, listed := failCalls(t), map[string]bool{"script": true} // Driver.fail passes its name on
	for _, i := range checker.Invariants {
		if i.Description == "" {
			t.Errorf("%q has no description", i.Name)
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

func TestFaultsHaveNamesAndDescriptions(t *testing.T) {
	for _, f := range fault.Kinds() {
		if f.String() == "" || f.Description() == "" {
			t.Errorf("fault %d is called %q: %q", int(f), f.String(), f.Description())
		}
		if back, err := fault.ParseKind(f.String()); err != nil || back != f {
			t.Errorf("%v is read as %v: %v", f, back, err)
		}
	}
}

// A second scenario of the same name would never run.
func TestScenarioNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, sc := range scenario.Scenarios() {
		if seen[sc.Name] {
			t.Errorf("two scenarios are called %s", sc.Name)
		}
		seen[sc.Name] = true
	}
}
