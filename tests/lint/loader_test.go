package lint

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// typedPackage is a package with the types of its expressions. A check of names alone would miss an
// alias, a dot import and a method value, and could not tell a map from a slice.
type typedPackage struct {
	path  string // below the module
	files []*ast.File
	info  *types.Info
}

// loader type-checks packages of the module. It takes the types of what they import from the
// compiler's export data, which `go list` makes and caches.
type loader struct {
	set      *token.FileSet
	root     string
	importer types.Importer
	packages []string            // paths below the module of all packages that are not tests
	sources  map[string][]string // files by path below the module, of the deterministic packages
}

// fixtureImports are what the fixtures import besides the module's own imports.
var fixtureImports = []string{
	"context", "crypto/rand", "maps", "math/rand", "math/rand/v2", "os", "reflect", "runtime", "slices", "sort", "sync", "time",
}

// listedPackage is what `go list` reports of a package.
type listedPackage struct {
	ImportPath, Export, Dir string
	GoFiles                 []string
	DepOnly                 bool
}

// listPackages returns the packages of the module and all that they import.
func listPackages(root string) (all []listedPackage, err error) {
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Export,Dir,GoFiles,DepOnly", module + "/..."}
	c := exec.Command("go", append(args, fixtureImports...)...)
	c.Dir, c.Stderr = root, os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

var load = sync.OnceValues(func() (*loader, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	listed, err := listPackages(root)
	if err != nil {
		return nil, err
	}
	l := &loader{set: token.NewFileSet(), root: root, sources: map[string][]string{}}
	exports := map[string]string{}
	for _, p := range listed {
		exports[p.ImportPath] = p.Export
		below, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours || p.DepOnly {
			continue
		}
		below = strings.TrimPrefix(below, "/")
		l.packages = append(l.packages, below)
		if deterministic(below) {
			for _, f := range p.GoFiles {
				l.sources[below] = append(l.sources[below], filepath.Join(p.Dir, f))
			}
		}
	}
	l.importer = importer.ForCompiler(l.set, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("no export data for %s", path)
		}
		return os.Open(exports[path])
	})
	return l, nil
})

func newLoader(t *testing.T) *loader {
	t.Helper()
	l, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// check parses and type-checks the files of a package.
func (l *loader) check(path string, names []string) (*typedPackage, error) {
	p := &typedPackage{path: path, info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{},
	}}
	for _, name := range names {
		file, err := parser.ParseFile(l.set, name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, file)
	}
	_, err := (&types.Config{Importer: l.importer}).Check(module+"/"+path, l.set, p.files, p.info)
	return p, err
}

// at returns a position as "file:line", with the file's path below the repository's root.
func (l *loader) at(pos token.Pos) string {
	p := l.set.Position(pos)
	name, err := filepath.Rel(l.root, p.Filename)
	if err != nil {
		name = p.Filename
	}
	return fmt.Sprintf("%s:%d", filepath.ToSlash(name), p.Line)
}
