// Command hunt runs seeds of the simulator until an invariant fails, and prints the result as JSON.
// The mutation bank builds it with a bug in it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/kv/simulation"
)

// catch is the result that the bank reads.
type catch struct {
	Seeds     int    // number of seeds that were run
	Invariant string // empty: nothing was caught
	Text      string
}

func main() {
	profile := flag.String("profile", "", "the profile whose seeds are run")
	scenario := flag.String("scenario", "", "the scenario that is played instead")
	first := flag.Uint64("first", 1, "the first seed")
	seeds := flag.Int("seeds", 100, "how many seeds to run at most")
	nodes := flag.Int("nodes", 0, "how many members; 0: the seed decides")
	flag.Parse()
	run, err := runner(*profile, *scenario)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	c := catch{}
	for ; c.Seeds < *seeds && c.Invariant == ""; c.Seeds++ {
		if f := run(world.Options{Seed: *first + uint64(c.Seeds), Nodes: *nodes}).Failure; f != nil {
			c.Invariant, c.Text = f.Invariant, f.Text
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func runner(profileName, scenarioName string) (func(world.Options) *world.Result, error) {
	if scenarioName != "" {
		sc, err := scenario.Find(scenarioName, simulation.Scenarios()...)
		return sc.Run, err
	}
	p, err := fault.FindProfile(profileName)
	return func(o world.Options) *world.Result {
		o.Profile = p
		return world.Run(o)
	}, err
}
