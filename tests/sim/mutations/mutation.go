// Package mutations is a bank of deliberate bugs: each a small change of the production code that somebody who writes Raft
// could make, each to be caught by the simulator's ghost or by a named test. One that survives is a hole in the checker, in
// the faults or in the tests.
//
// No production code knows of it. A bug is applied by the Go tool's -overlay, which compiles a changed copy of a file in
// place of the file.
package mutations

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Mutation is one bug.
type Mutation struct {
	Name string
	// Breaks says what is wrong, in a line.
	Breaks string
	Edits  []Edit
	Hunt   Hunt
	// Caught are the promises that it breaks: only a failure of one of them is a catch. A bug that makes the program
	// stumble before it does what it is meant to do is no test of the checker. Empty where a package's test hunts.
	Caught []string
}

// Edit replaces a text that occurs exactly once in a file, named from the repository's root.
type Edit struct{ File, Old, New string }

// Hunt is where a mutation is looked for: in the seeds of a profile, in a scenario, or in a test of a package.
type Hunt struct {
	Profile  string
	Scenario string
	Nodes    int // 0: the seed decides
	// Seeds within which it must be caught; 0: defaultSeeds.
	Seeds int

	Package, Test string
}

const defaultSeeds = 200

func (h Hunt) seeds() int {
	if h.Seeds == 0 {
		return defaultSeeds
	}
	return h.Seeds
}

// String is for the table.
func (h Hunt) String() string {
	switch {
	case h.Test != "":
		return "`" + h.Test + "`"
	case h.Scenario != "":
		return "scenario " + h.Scenario
	case h.Nodes != 0:
		return fmt.Sprintf("profile %s, %d members", h.Profile, h.Nodes)
	}
	return "profile " + h.Profile
}

// Bank is all of them, in the order of the table.
func Bank() []Mutation {
	return slices.Concat(elections, replication, reads, storage, application)
}

// apply writes the changed files below dir, and returns what -overlay is to be told: from the file to its changed copy.
func (m *Mutation) apply(root, dir string) (map[string]string, error) {
	changed := map[string]string{}
	for i, e := range m.Edits {
		path := filepath.Join(root, e.File)
		from := path
		if copied := changed[path]; copied != "" {
			from = copied
		}
		source, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		if n := strings.Count(string(source), e.Old); n != 1 {
			return nil, fmt.Errorf("edit %d of %q: its text occurs %d times in %s: the source has changed, bring the bank up to date", i+1, m.Name, n, e.File)
		}
		changed[path] = filepath.Join(dir, strings.ReplaceAll(e.File, "/", "_"))
		if err := os.WriteFile(changed[path], []byte(strings.Replace(string(source), e.Old, e.New, 1)), 0o600); err != nil {
			return nil, err
		}
	}
	return changed, nil
}
