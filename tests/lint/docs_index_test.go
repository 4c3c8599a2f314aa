package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/kv/simulation"
)

// names is a set of names.
type names map[string]bool

// docIndex is what documents may cite: everything that the sources of this repository, nested
// modules included, define.
type docIndex struct {
	paths     names            // files and directories
	tests     map[string]names // by package directory: tests, benchmarks, fuzz tests and examples
	flags     names            // of all commands and of all tests, datadriven's too
	commands  names            // subcommands of troupe
	metrics   names
	scenarios names
	profiles  names
	packages  map[string][]string // directories by package name
	symbols   map[string]names    // by package directory: package-level names, and Type.member
	members   map[string]names    // by type name, over all packages
	fileFuncs map[string]names    // by file: functions and types
	texts     names               // string literals of the product
}

var (
	testFunction = regexp.MustCompile(`^(Test|Benchmark|Fuzz|Example)([A-Z_]|$)`)
	flagMethod   = regexp.MustCompile(`^(String|Bool|Int|Int64|Uint|Uint32|Uint64|Float64|Duration|Count|Func)(Slice|Array)?(Var)?P?$|^VarP?F?$`)
	flagText     = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)
	metricText   = regexp.MustCompile(`^(troupe|etcd)_[a-z0-9_]+$`)
)

// newDocIndex reads the sources once; nobody changes what it returns.
func newDocIndex(t *testing.T) *docIndex {
	t.Helper()
	x, err := readDocIndex()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

var readDocIndex = sync.OnceValues(func() (*docIndex, error) {
	x := &docIndex{
		paths: names{}, tests: map[string]names{}, packages: map[string][]string{}, texts: names{},
		flags: names{"help": true, "version": true, "rewrite": true}, metrics: names{},
		commands:  names{"completion": true, "help": true},
		scenarios: names{"all": true}, profiles: names{"all": true},
		symbols: map[string]names{}, members: map[string]names{}, fileFuncs: map[string]names{},
	}
	for _, s := range slices.Concat(scenario.Scenarios(), simulation.Scenarios()) {
		x.scenarios[s.Name] = true
	}
	for _, p := range slices.Concat(fault.Profiles, simulation.Profiles) {
		x.profiles[p.Name] = true
	}
	root := "../.."
	return x, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, file)
		name = filepath.ToSlash(name)
		if entry.IsDir() && (name == ".git" || name == "bin") {
			return filepath.SkipDir
		}
		x.paths[name] = true
		if strings.HasSuffix(name, ".go") && !strings.Contains(name, "/testdata/") {
			return x.addSource(file, name)
		}
		return nil
	})
})

func (x *docIndex) addSource(file, name string) error {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	if x.symbols[dir] == nil {
		pkg := strings.TrimSuffix(f.Name.Name, "_test")
		x.symbols[dir], x.tests[dir] = names{}, names{}
		x.packages[pkg] = append(x.packages[pkg], dir)
	}
	x.fileFuncs[name] = names{}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			x.addFunction(dir, name, d)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				x.addSpec(dir, name, s)
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		x.addLiterals(n, strings.HasSuffix(name, "_test.go"))
		return true
	})
	return nil
}

func (x *docIndex) addFunction(dir, file string, d *ast.FuncDecl) {
	name := d.Name.Name
	x.fileFuncs[file][name] = true
	if d.Recv == nil {
		x.symbols[dir][name] = true
		if strings.HasSuffix(file, "_test.go") && testFunction.MatchString(name) {
			x.tests[dir][name] = true
		}
		return
	}
	of := receiverName(d.Recv.List[0].Type)
	x.fileFuncs[file][of+"."+name] = true
	x.addMember(dir, of, name)
}

func receiverName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiverName(e.X)
	case *ast.IndexExpr:
		return receiverName(e.X)
	case *ast.IndexListExpr:
		return receiverName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func (x *docIndex) addMember(dir, of, name string) {
	x.symbols[dir][of+"."+name] = true
	if x.members[of] == nil {
		x.members[of] = names{}
	}
	x.members[of][name] = true
}

func (x *docIndex) addSpec(dir, file string, s ast.Spec) {
	switch s := s.(type) {
	case *ast.ValueSpec:
		for _, n := range s.Names {
			x.symbols[dir][n.Name] = true
		}
	case *ast.TypeSpec:
		x.symbols[dir][s.Name.Name] = true
		x.fileFuncs[file][s.Name.Name] = true
		var fields *ast.FieldList
		switch t := s.Type.(type) {
		case *ast.StructType:
			fields = t.Fields
		case *ast.InterfaceType:
			fields = t.Methods
		default:
			return
		}
		for _, f := range fields.List {
			for _, n := range f.Names {
				x.addMember(dir, s.Name.Name, n.Name)
			}
		}
	}
}

// addLiterals notes flags, subcommands and metrics by how the sources write them: as the name in a
// call that defines a flag, as the name in a table of flags, as a command's Use, as a literal that
// reads like a metric.
func (x *docIndex) addLiterals(n ast.Node, test bool) {
	switch n := n.(type) {
	case *ast.CallExpr:
		f, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || !flagMethod.MatchString(f.Sel.Name) {
			return
		}
		for _, a := range n.Args[:min(2, len(n.Args))] {
			if name := literal(a); flagText.MatchString(name) {
				x.flags[name] = true
			}
		}
	case *ast.KeyValueExpr:
		key, ok := n.Key.(*ast.Ident)
		if !ok {
			return
		}
		switch value := literal(n.Value); {
		case key.Name == "name" && flagText.MatchString(value):
			x.flags[value] = true
		case key.Name == "Use" && value != "":
			x.commands[strings.Fields(value)[0]] = true
		}
	case *ast.BasicLit:
		if text := literal(n); !test {
			x.texts[text] = true
			if metricText.MatchString(text) {
				x.metrics[text] = true
			}
		}
	}
}

// hasText reports whether a string literal of the product contains text.
func (x *docIndex) hasText(text string) bool {
	for literal := range x.texts {
		if strings.Contains(literal, text) {
			return true
		}
	}
	return false
}

func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		s, _ := strconv.Unquote(l.Value)
		return s
	}
	return ""
}
