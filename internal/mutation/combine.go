package mutation

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Chosen is the environment variable with which a program that was compiled with the overlay of
// ApplyAll chooses its mutation: the number of the edits, from 1 on. Without it the program is as
// it was.
const Chosen = "MUTATION_CHOSEN"

// ApplyAll makes several mutations in one overlay, so that one program has them all and chooses one
// when it starts. The edits of a mutation are made as if there were no other; each function that
// they change gets its changed body beside its own:
//
//	func f() {
//		if mutationChosen == 7 {
//			// the body as the edits of mutation 7 left it
//			return
//		}
//		// its own body
//	}
//
// It returns the path of the overlay, and the indexes of the mutations that it could not include
// since they change more than bodies of functions, or a body with a label. Those need Apply.
func ApplyAll(root, dir string, mutations [][]Edit) (overlay string, left []int, err error) {
	bodies := map[string]map[string][]body{} // by the path of the file, and the function
	for i, edits := range mutations {
		changed, err := changedBodies(root, edits)
		switch {
		case errors.Is(err, errNotOnlyBodies):
			left = append(left, i)
			continue
		case err != nil:
			return "", nil, err
		}
		for at, text := range changed {
			if bodies[at.path] == nil {
				bodies[at.path] = map[string][]body{}
			}
			bodies[at.path][at.function] = append(bodies[at.path][at.function], body{i + 1, text})
		}
	}
	changed := map[string][]byte{}
	for path, functions := range bodies {
		source, packageName, err := combine(path, functions)
		if err != nil {
			return "", nil, err
		}
		changed[path] = source
		changed[filepath.Join(filepath.Dir(path), "mutation_chosen.go")] = fmt.Appendf(nil, `package %s

import (
	"os"
	"strconv"
)

var mutationChosen, _ = strconv.Atoi(os.Getenv(%q))
`, packageName, Chosen)
	}
	overlay, err = writeOverlay(dir, changed)
	return overlay, left, err
}

// body is the body of a function as a mutation changes it.
type body struct {
	mutation int
	text     string
}

// location is a function in a file.
type location struct{ path, function string }

var errNotOnlyBodies = errors.New("the edits change more than bodies of functions without labels")

// changedBodies makes the edits and returns the bodies of the functions that they change.
func changedBodies(root string, edits []Edit) (map[location]string, error) {
	changed, err := apply(root, edits)
	if err != nil {
		return nil, err
	}
	bodies := map[location]string{}
	for _, e := range edits {
		if e.place.function == "" {
			return nil, errNotOnlyBodies
		}
		after, err := e.place.only(root, changed)
		if err != nil {
			return nil, err
		}
		before, err := e.place.only(root, nil)
		if err != nil {
			return nil, err
		}
		if after.signature() != before.signature() || after.hasLabel() {
			return nil, errNotOnlyBodies
		}
		f := after.node.(*ast.FuncDecl)
		bodies[location{after.path, after.String()}] = string(after.source[after.offset(f.Body.Lbrace)+1 : after.offset(f.Body.Rbrace)])
	}
	return bodies, nil
}

// only returns the function that the place names.
func (p Place) only(root string, changed map[string][]byte) (*declaration, error) {
	all, err := declarations(root, p.dir, changed)
	if err != nil {
		return nil, err
	}
	found, err := p.choose(all)
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

func (d *declaration) signature() string {
	f := d.node.(*ast.FuncDecl)
	return string(d.source[d.offset(f.Type.Pos()):d.offset(f.Body.Lbrace)])
}

func (d *declaration) hasLabel() (has bool) {
	ast.Inspect(d.node, func(n ast.Node) bool {
		_, labeled := n.(*ast.LabeledStmt)
		has = has || labeled
		return !has
	})
	return has
}

// combine returns the source of a file with the changed bodies beside those that it has, and the
// name of its package.
func combine(path string, functions map[string][]body) (source []byte, packageName string, err error) {
	source, err = os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, "", err
	}
	for _, node := range slices.Backward(file.Decls) { // so that earlier offsets stay right
		f, ok := node.(*ast.FuncDecl)
		if !ok {
			continue
		}
		d := declaration{name: f.Name.Name, receiver: receiver(f)}
		var b strings.Builder
		for _, changed := range functions[d.String()] {
			fmt.Fprintf(&b, "\nif mutationChosen == %d {\n%s\n", changed.mutation, changed.text)
			if f.Type.Results == nil {
				b.WriteString("return\n")
			}
			b.WriteString("}\n")
		}
		at := files.Position(f.Body.Lbrace).Offset + 1
		source = slices.Insert(source, at, []byte(b.String())...)
	}
	return source, file.Name.Name, nil
}

// writeOverlay writes the changed files, and a description of them for the Go tool's -overlay.
func writeOverlay(dir string, changed map[string][]byte) (overlay string, err error) {
	copies := map[string]string{}
	for _, path := range slices.Sorted(maps.Keys(changed)) {
		copies[path] = filepath.Join(dir, fmt.Sprintf("%d_%s", len(copies), filepath.Base(path)))
		if err := os.WriteFile(copies[path], changed[path], 0o600); err != nil {
			return "", err
		}
	}
	description, err := json.Marshal(map[string]any{"Replace": copies})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, description, 0o600)
}
