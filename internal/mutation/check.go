package mutation

import (
	"bytes"
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
)

// Checker checks in memory that edits apply and that what they change still compiles.
type Checker struct {
	root     string
	packages map[string]listed // by directory
	imports  types.Importer
}

// listed is what the checker reads of the output of `go list`.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

// NewChecker returns a Checker for edits in the packages of these edits. It builds the packages.
func NewChecker(root string, edits ...Edit) (*Checker, error) {
	list := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles")
	for _, e := range edits {
		list.Args = append(list.Args, "./"+e.place.dir)
	}
	list.Dir = root
	var messages bytes.Buffer
	list.Stderr = &messages
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages of the edits: %w\n%s", err, messages.Bytes())
	}
	c := &Checker{root: root, packages: map[string]listed{}}
	exports := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		c.packages[p.Dir], exports[p.ImportPath] = p, p.Export
	}
	c.imports = importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	return c, nil
}

// Check makes the edits, one after the other, and type-checks the packages that they change.
func (c *Checker) Check(edits ...Edit) error {
	changed, err := apply(c.root, edits)
	if err != nil {
		return err
	}
	dirs := map[string]bool{}
	for path := range changed {
		dirs[filepath.Dir(path)] = true
	}
	for dir := range dirs {
		p, ok := c.packages[dir]
		if !ok {
			return fmt.Errorf("no package of the checker is in %s", dir)
		}
		files := token.NewFileSet()
		var syntax []*ast.File
		for _, name := range p.GoFiles {
			path := filepath.Join(dir, name)
			var source any // nil: ParseFile reads the file
			if s, ok := changed[path]; ok {
				source = s
			}
			file, err := parser.ParseFile(files, path, source, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			syntax = append(syntax, file)
		}
		config := types.Config{Importer: c.imports}
		if _, err := config.Check(p.ImportPath, files, syntax, nil); err != nil {
			return fmt.Errorf("the changed code does not compile: %w", err)
		}
	}
	return nil
}
