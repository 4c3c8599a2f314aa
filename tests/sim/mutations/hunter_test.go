package mutations

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/troupe-raft/troupe/internal/mutation"
)

// huntPackage is the program that runs seeds of the simulator.
const huntPackage = "./tests/sim/mutations/hunt"

// hunter hunts mutations. It compiles the simulator, and the tests of each package, once with all
// mutations in them; each hunt chooses its own when it starts the program.
type hunter struct {
	root, dir string
	bank      []Mutation
	overlay   string
	left      []int // the mutations that are not in the overlay

	mu       sync.Mutex
	programs map[string]*program // by package; guarded by mu
}

// program is a compiled program with the mutations of the overlay.
type program struct {
	build sync.Once
	path  string
	err   error
}

func newHunter(root, dir string, bank []Mutation) (*hunter, error) {
	all := make([][]mutation.Edit, len(bank))
	for i, m := range bank {
		all[i] = m.Edits
	}
	h := &hunter{root: root, dir: dir, bank: bank, programs: map[string]*program{}}
	var err error
	h.overlay, h.left, err = mutation.ApplyAll(root, dir, all)
	return h, err
}

// hunt runs what must catch the mutation.
func (h *hunter) hunt(i int, dir string) caught {
	m := &h.bank[i]
	target := huntPackage
	if m.Hunt.Test != "" {
		target = m.Hunt.Package
	}
	var path string
	var err error
	if slices.Contains(h.left, i) {
		path, err = h.compileOne(m, target, dir)
	} else {
		path, err = h.compiled(target)
	}
	switch {
	case err != nil:
		return caught{err: err}
	case m.Hunt.Test != "":
		return h.huntByTest(i, path)
	}
	out, err := h.run(i, h.root, path, "-profile", m.Hunt.Profile, "-scenario", m.Hunt.Scenario,
		"-nodes", strconv.Itoa(m.Hunt.Nodes), "-seeds", strconv.Itoa(m.Hunt.seeds()))
	if err != nil {
		return caught{err: fmt.Errorf("the hunt failed: %w\n%s", err, out)}
	}
	var c struct {
		Seeds           int
		Invariant, Text string
	}
	if err := json.Unmarshal(out, &c); err != nil {
		return caught{err: fmt.Errorf("the hunt printed %q: %w", out, err)}
	}
	return caught{by: c.Invariant, text: c.Text, seeds: c.Seeds}
}

// huntByTest runs the package's test. The test itself must fail, not its compilation.
func (h *hunter) huntByTest(i int, path string) caught {
	m := &h.bank[i]
	out, err := h.test(i, m.Hunt.Package, path, m.Hunt.Test)
	switch {
	case err == nil && bytes.Contains(out, []byte("no tests to run")):
		return caught{err: fmt.Errorf("%s has no test %s", m.Hunt.Package, m.Hunt.Test)}
	case err == nil:
		return caught{}
	case !bytes.Contains(out, []byte("--- FAIL: "+m.Hunt.Test)) && !bytes.Contains(out, []byte("panic: test timed out")):
		return caught{err: fmt.Errorf("the test did not fail but ended with %w\n%s", err, out)}
	}
	return caught{by: m.Hunt.Test, text: firstFailure(string(out)), seeds: 1}
}

// compiled returns the program of a package with the mutations of the overlay. The tests that hunt
// must pass in it while no mutation is chosen.
func (h *hunter) compiled(target string) (string, error) {
	h.mu.Lock()
	p := h.programs[target]
	if p == nil {
		p = &program{path: filepath.Join(h.dir, strings.NewReplacer("/", "_", ".", "_").Replace(target)+".program")}
		h.programs[target] = p
	}
	h.mu.Unlock()
	p.build.Do(func() {
		if p.err = h.compile(target, h.overlay, p.path); p.err != nil || target == huntPackage {
			return
		}
		var tests []string
		for i, m := range h.bank {
			if m.Hunt.Package == target && !slices.Contains(h.left, i) {
				tests = append(tests, m.Hunt.Test)
			}
		}
		if out, err := h.test(-1, target, p.path, strings.Join(tests, "|")); err != nil {
			p.err = fmt.Errorf("the tests of %s fail without a mutation: %w\n%s", target, err, out)
		}
	})
	return p.path, p.err
}

// compileOne returns the program of a package with one mutation, for which nothing is to choose.
func (h *hunter) compileOne(m *Mutation, target, dir string) (path string, err error) {
	overlay, err := mutation.Apply(h.root, dir, m.Edits...)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "program")
	return path, h.compile(target, overlay, path)
}

func (h *hunter) compile(target, overlay, path string) error {
	arguments := []string{"test", "-c", "-vet=off"}
	if target == huntPackage {
		arguments = []string{"build"}
	}
	c := exec.Command("go", append(arguments, "-overlay", overlay, "-ldflags=-s -w", "-o", path, target)...)
	c.Dir = h.root
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("the mutated program does not compile: %w\n%s", err, out)
	}
	return nil
}

// test runs tests of a package in its folder, as the Go tool does.
func (h *hunter) test(i int, target, path, tests string) ([]byte, error) {
	timeout := "60s"
	if i < 0 {
		timeout = "10m" // many tests, which do not hang
	}
	return h.run(i, filepath.Join(h.root, target), path, "-test.count=1", "-test.timeout="+timeout, "-test.run", "^("+tests+")$")
}

// run runs a program with a mutation chosen; -1 for none.
func (h *hunter) run(i int, folder, path string, arguments ...string) ([]byte, error) {
	c := exec.Command(path, arguments...)
	c.Dir = folder
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%d", mutation.Chosen, i+1))
	var messages bytes.Buffer
	c.Stderr = &messages
	out, err := c.Output()
	if err != nil {
		out = append(out, messages.Bytes()...)
	}
	return out, err
}
