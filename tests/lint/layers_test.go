// Package lint holds the rules of the house that a compiler does not see: imports point down only, and what must be
// deterministic touches nothing that is not.
package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
)

const module = "github.com/troupe-raft/troupe"

// rooms from the top down: a package may import what stands below its own room, and within its room. The longest prefix
// that fits decides.
var layers = []struct {
	prefix string
	floor  int
}{
	{"cmd", 8}, {"kv", 7}, {"", 6}, {"internal/sim", 6}, {"supervisor", 5}, {"actors/live", 4},
	{"actors/node", 3}, {"actors/logstore", 3}, {"actors/machine", 3}, {"actors/replicator", 3}, {"actors", 2},
	{"persistence", 1}, {"internal/session", 1}, {"raft", 0}, {"messages", -1}, {"statemachine", -1}, {"internal/defaults", -1},
}

func layerOf(pkg string) (prefix string, floor int) {
	best := -1
	for _, r := range layers {
		fits := pkg == r.prefix || strings.HasPrefix(pkg, r.prefix+"/")
		if fits && len(r.prefix) > best {
			prefix, floor, best = r.prefix, r.floor, len(r.prefix)
		}
	}
	return
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
		prefix, floor := layerOf(s.pkg)
		for _, imported := range s.file.Imports {
			path := strings.Trim(imported.Path.Value, `"`)
			if path != module && !strings.HasPrefix(path, module+"/") {
				continue
			}
			other := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
			if strings.HasPrefix(other, "tests/") {
				t.Errorf("%s imports %s: nothing may import from tests/", s.path, path)
				continue
			}
			otherPrefix, otherFloor := layerOf(other)
			if otherFloor > floor || otherFloor == floor && otherPrefix != prefix {
				t.Errorf("%s imports %s: imports point down only", s.path, path)
			}
		}
	}
}

// The simulator runs what a node is made of and nothing around it: it builds in seconds and starts at once.
func TestSimulatorDependencies(t *testing.T) {
	c := exec.Command("go", "list", "-deps", module+"/cmd/troupe-sim")
	c.Dir = "../.."
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if !slices.Contains(packages, module+"/internal/sim") || !slices.Contains(packages, module+"/supervisor") {
		t.Fatalf("these are not the packages of the simulator: %v", packages)
	}
	for _, p := range packages {
		for _, heavy := range []string{module + "/kv", module + "/actors/live", "google.golang.org/grpc", "github.com/cockroachdb/pebble"} {
			if p == heavy || strings.HasPrefix(p, heavy+"/") {
				t.Errorf("cmd/troupe-sim is built with %s", p)
			}
		}
	}
}

func TestPureLayersDoNotImportActors(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		if prefix, _ := layerOf(s.pkg); prefix != "raft" && prefix != "messages" && prefix != "persistence" {
			continue
		}
		for _, imported := range s.file.Imports {
			if strings.Contains(imported.Path.Value, "protoactor-go") {
				t.Errorf("%s imports %s", s.path, imported.Path.Value)
			}
		}
	}
}

// A function over 100 lines, or a file over 600, is a place where nobody finds anything.
func TestSizeLimits(t *testing.T) {
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
