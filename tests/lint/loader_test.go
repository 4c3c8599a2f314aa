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

// typed is a package with the types of everything in it. Rules about names alone are blind to an alias, a dot import, a
// method kept as a value, and cannot tell a map from a slice.
type typedPackage struct {
	path  string // below the module
	files []*ast.File
	info  *types.Info
}

// loader type-checks packages from source against the compiler's export data, which `go list` has made and cached.
type loader struct {
	set      *token.FileSet
	root     string
	importer types.Importer
	sources  map[string][]string // files by import path, of the packages asked for
}

// What the fixtures import beside what the house does.
var fixtureImports = []string{"context", "crypto/rand", "maps", "math/rand", "math/rand/v2", "os", "reflect", "runtime", "slices", "sort", "sync", "time"}

var loadPackages = sync.OnceValues(func() (*loader, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	args := append([]string{"list", "-export", "-deps", "-json=ImportPath,Export,Dir,GoFiles,DepOnly"}, fixtureImports...)
	for _, p := range deterministicRoots {
		args = append(args, module+"/"+p+"/...")
	}
	c := exec.Command("go", args...)
	c.Dir, c.Stderr = root, os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	l := &loader{set: token.NewFileSet(), root: root, sources: map[string][]string{}}
	exports := map[string]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Export, Dir string
			GoFiles                 []string
			DepOnly                 bool
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		exports[p.ImportPath] = p.Export
		if below, ours := strings.CutPrefix(p.ImportPath, module+"/"); ours && !p.DepOnly && deterministic(below) {
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
	l, err := loadPackages()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// check parses and type-checks the files of a package.
func (l *loader) check(path string, names []string) (*typedPackage, error) {
	p := &typedPackage{path: path, info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}}
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

// at is a position as people write it.
func (l *loader) at(pos token.Pos) string {
	p := l.set.Position(pos)
	name, err := filepath.Rel(l.root, p.Filename)
	if err != nil {
		name = p.Filename
	}
	return fmt.Sprintf("%s:%d", filepath.ToSlash(name), p.Line)
}
