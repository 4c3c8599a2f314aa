// Package mutations is a bank of deliberate bugs: each a small change of the production code that somebody who writes Raft
// could make, each to be caught by the simulator's ghost or by a named test. One that survives is a hole in the checker, in
// the faults or in the tests.
//
// No production code depends on it. Package internal/mutation finds the code to change by a pattern,
// and the Go tool's -overlay compiles the changed copy of a file in place of the file.
package mutations

import (
	"fmt"
	"slices"

	"github.com/troupe-raft/troupe/internal/mutation"
)

// Mutation is one bug.
type Mutation struct {
	Name string
	// Breaks says what is wrong, in a line.
	Breaks string
	Edits  []mutation.Edit
	Hunt   Hunt
	// Caught are the promises that it breaks: only a failure of one of them is a catch. A bug that makes the program
	// stumble before it does what it is meant to do is no test of the checker. Empty where a package's test hunts.
	Caught []string
}

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
