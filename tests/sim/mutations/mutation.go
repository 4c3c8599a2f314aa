// Package mutations is a bank of deliberate bugs. Each is a small change of the production code
// that a programmer of Raft could make by mistake, and the simulator or a named test must catch it.
// A bug that survives shows a gap in the checker, in the injected faults or in the tests.
//
// No production code depends on it. Package internal/mutation finds the code to change by a
// pattern, and the Go tool's -overlay compiles the changed copy of a file in place of the file.
package mutations

import (
	"fmt"
	"slices"

	"github.com/troupe-raft/troupe/internal/mutation"
)

// Mutation is one bug.
type Mutation struct {
	Name string
	// Breaks describes the bug in one line.
	Breaks string
	Edits  []mutation.Edit
	Hunt   Hunt
	// Caught names the invariants that the bug violates. The failure of any other invariant does not
	// count: it would only show that the program fails before the bug takes effect. Caught is empty
	// if a test of a package hunts the bug.
	Caught []string
}

// Hunt names what must catch a mutation: the seeds of a profile, a scenario, or a package's test.
type Hunt struct {
	Profile  string
	Scenario string
	Nodes    int // 0: the seed decides
	// Seeds is the number of seeds within which the mutation must be caught; 0: defaultSeeds.
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

// String returns the text for the table.
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

// Bank returns all mutations in the order of the table.
func Bank() []Mutation {
	return slices.Concat(
		elections, replication, reads, storage, application,
		boundaries,
		limits,
		link,
		mvccStore,
		wiring,
		keyValue,
		keyValueScripts,
		datadirs, starts,
		commandline,
		rejoins,
		server,
		services,
		embedding,
		commands,
		operators,
	)
}
