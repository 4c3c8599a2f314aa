package lint

import (
	"go/ast"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
)

// deterministicRoots are the folders of the code that must depend on its inputs only: the simulator
// and the code that it runs. actors/live is excepted: it is the environment with goroutines, a
// clock and sockets.
var deterministicRoots = []string{"raft", "persistence", "actors", "internal/lanes", "internal/session", "internal/member", "supervisor", "internal/sim", "kv/simulation"}

func deterministic(pkg string) bool {
	within := func(p string) bool { return pkg == p || strings.HasPrefix(pkg, p+"/") }
	if within("actors/live") {
		return false
	}
	return slices.ContainsFunc(deterministicRoots, within)
}

// forbidden lists by import path the names that deterministic code may not use. A type stands for
// its methods too, ".Method" for the method of any type, and "*" for all names except methods of
// values, whose origin is reported already.
var forbidden = map[string][]string{
	"context":      {"WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause", "AfterFunc"},
	"crypto/rand":  {"*"},
	"hash/maphash": {"*"},
	"maps":         {"Keys", "Values", "All"}, // except if they are sorted at once
	"math/rand":    {"*"},
	"math/rand/v2": {"*"}, // see exceptions
	"net":          {"*"},
	"net/http":     {"*"},
	"os":           {"*"},
	"os/exec":      {"*"},
	"reflect":      {"Value.MapRange", "Value.MapKeys"},
	"runtime":      {"GC", "GOMAXPROCS", "Gosched", "NumCPU", "NumGoroutine", "ReadMemStats", "SetFinalizer", "AddCleanup"},
	"sync":         {"Cond", "NewCond", "Map", "Pool", "WaitGroup"}, // a mutex is harmless with one goroutine
	"time":         {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Local"},
	"unsafe":       {"*"},
	"github.com/asynkron/protoactor-go/actor": {
		"Future", "NewFuture", ".RequestFuture", ".StopFuture", ".PoisonFuture",
	},
	"github.com/anishathalye/porcupine": { // a clock stops these
		"CheckOperationsTimeout", "CheckEventsTimeout", "CheckOperationsVerbose", "CheckEventsVerbose",
	},
	"google.golang.org/protobuf/encoding/prototext": {"*"}, // its spaces depend on the build
}

// exceptions lists what a package may use nevertheless, with the reason.
var exceptions = map[string]string{
	"internal/sim/world math/rand/v2.New":    "a world's own generator, from its seed",
	"internal/sim/world math/rand/v2.NewPCG": "the same",
	"internal/sim/world math/rand/v2.Rand":   "the same",
	"internal/sim/fault math/rand/v2.Rand":   "the same",
	"kv/simulation math/rand/v2.Rand":        "the same",
	"internal/session sync.Pool":             "recycled channels are all alike",
	"internal/sim/world sync.Pool":           "recycled actor systems are all alike, as the determinism test proves",
}

// channelPackages are called by programs with goroutines that wait, so they may use channels. The
// simulator calls only those of their functions that do not wait.
var channelPackages = []string{"internal/session", "internal/member"}

// finding is a place that breaks a rule.
type finding struct {
	pos  token.Pos
	what string
}

// findings returns all places of a package where its behaviour may depend on more than its inputs.
func findings(p *typedPackage) []finding {
	var all []finding
	for _, file := range p.files {
		w := &visitor{typedPackage: p, marked: markedLoops(file)}
		ast.Walk(w, file)
		all = append(all, w.found...)
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].pos < all[j].pos })
	return all
}

// visitor walks through a file. ancestors are the current node and those that contain it.
type visitor struct {
	*typedPackage
	ancestors []ast.Node
	marked    map[ast.Node]bool
	found     []finding
}

func (w *visitor) report(n ast.Node, what string) { w.found = append(w.found, finding{n.Pos(), what}) }

// reportWait reports a place where a goroutine may wait for another.
func (w *visitor) reportWait(n ast.Node, what string) {
	if !slices.Contains(channelPackages, w.typedPackage.path) {
		w.report(n, what)
	}
}

// Visit implements ast.Visitor. It is called with nil at the end of a node.
func (w *visitor) Visit(n ast.Node) ast.Visitor {
	if n == nil {
		w.ancestors = w.ancestors[:len(w.ancestors)-1]
		return w
	}
	w.ancestors = append(w.ancestors, n)
	switch n := n.(type) {
	case *ast.GoStmt:
		w.report(n, "a goroutine")
	case *ast.SelectStmt:
		w.reportWait(n, "a select")
	case *ast.SendStmt:
		w.reportWait(n, "a send to a channel")
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			w.reportWait(n, "a receive from a channel")
		}
	case *ast.BasicLit:
		if n.Kind == token.STRING && strings.Contains(n.Value, "%p") {
			w.report(n, "an address as text")
		}
	case *ast.RangeStmt:
		w.checkRange(n)
	case *ast.Ident:
		w.checkName(n)
	}
	return w
}

// checkName looks at what a name stands for.
func (w *visitor) checkName(id *ast.Ident) {
	object := w.info.Uses[id]
	if object == nil || object.Pkg() == nil {
		return
	}
	name, candidates := object.Name(), []string{object.Name(), "*"}
	if f, ok := object.(*types.Func); ok && f.Signature().Recv() != nil {
		of := typeName(f.Signature().Recv().Type())
		name = of + "." + name
		candidates = []string{of, name, "." + object.Name()}
	} else if v, ok := object.(*types.Var); ok && v.IsField() {
		return
	}
	path := object.Pkg().Path()
	if !slices.ContainsFunc(candidates, func(c string) bool { return slices.Contains(forbidden[path], c) }) {
		return
	}
	excused := slices.ContainsFunc(candidates, func(c string) bool { return exceptions[w.typedPackage.path+" "+path+"."+c] != "" })
	if excused || path == "maps" && w.sortedAtOnce() {
		return
	}
	w.report(id, path+"."+name)
}

func typeName(t types.Type) string {
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	if n, ok := t.(*types.Named); ok {
		return n.Obj().Name()
	}
	return t.String()
}

// sortedAtOnce: the present node is the maps.Keys of slices.Sorted(maps.Keys(m)).
func (w *visitor) sortedAtOnce() bool {
	for i := len(w.ancestors) - 1; i >= 0; i-- {
		if call, ok := w.ancestors[i].(*ast.CallExpr); ok {
			if f, ok := w.callee(call); ok && f.Pkg() != nil && f.Pkg().Path() == "slices" && strings.HasPrefix(f.Name(), "Sorted") {
				return true
			}
		}
	}
	return false
}

func (w *visitor) callee(call *ast.CallExpr) (types.Object, bool) {
	f := ast.Unparen(call.Fun)
	if index, ok := f.(*ast.IndexExpr); ok {
		f = index.X
	}
	switch f := f.(type) {
	case *ast.Ident:
		return w.info.Uses[f], w.info.Uses[f] != nil
	case *ast.SelectorExpr:
		return w.info.Uses[f.Sel], w.info.Uses[f.Sel] != nil
	}
	return nil, false
}

func TestSimulatedCodeIsDeterministic(t *testing.T) {
	l := newLoader(t)
	files := 0
	for path, names := range l.sources {
		p, err := l.check(path, names)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		files += len(names)
		for _, f := range findings(p) {
			// The filesystem of the operating system is the live implementation of the interface.
			if name := filepath.Base(l.set.Position(f.pos).Filename); path == "persistence/vfs" && strings.HasPrefix(name, "os") {
				continue
			}
			t.Errorf("%s: %s", l.at(f.pos), f.what)
		}
	}
	if t.Failed() {
		t.Log("a range over a map is allowed if the loop sorts what it collects, has the same effect in any order " +
			"(maporder_test.go), or says why in a comment: // order does not matter: …")
	}
	for _, must := range []string{"raft", "persistence", "actors/node", "supervisor", "internal/sim/world", "internal/sim/checker"} {
		if len(l.sources[must]) == 0 {
			t.Errorf("%s was not checked", must)
		}
	}
	if files < 80 {
		t.Errorf("only %d files were checked: some are missing", files)
	}
}

// The fixture breaks every rule. A comment `want: …` names the finding of its line. All of these
// must be found, and nothing else.
func TestNondeterminismIsFound(t *testing.T) {
	l := newLoader(t)
	names, err := filepath.Glob("testdata/deterministic/*.go")
	if err != nil || len(names) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	p, err := l.check("tests/lint/testdata/deterministic", names)
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]string{}
	want := regexp.MustCompile(`want: (.*)`)
	for _, file := range p.files {
		for _, group := range file.Comments {
			for _, c := range group.List {
				if m := want.FindStringSubmatch(c.Text); m != nil {
					wanted[l.at(c.Pos())] = m[1]
				}
			}
		}
	}
	found := map[string]bool{} // a line may break several rules; the first counts
	for _, f := range findings(p) {
		if found[l.at(f.pos)] {
			continue
		}
		found[l.at(f.pos)] = true
		if wanted[l.at(f.pos)] != f.what {
			t.Errorf("%s: %s, wanted %q", l.at(f.pos), f.what, wanted[l.at(f.pos)])
		}
	}
	for at, what := range wanted {
		if !found[at] {
			t.Errorf("%s: %s was not found", at, what)
		}
	}
}
