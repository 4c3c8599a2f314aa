package scenario

import (
	"fmt"
	"slices"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// Scenario is a script for a world: which members there are, what happens to them, and what must
// hold. The same script runs over many seeds, which decide about the order of what happens at the
// same time.
type Scenario struct {
	Name        string // for `troupe-sim --scenario`
	Description string // what happens and what must hold, in a line
	Nodes       int    // number of members
	// Errata are the numbers of the errata that it covers.
	Errata []int
	// Seeds is how many seeds the usual test run takes, if the scenario takes too long for all; 0:
	// all.
	Seeds int
	// RecordsStorage: leaders record the storage ids of the members, which adds an entry to the log.
	RecordsStorage bool
	// Application is what runs on the members; nil: a small key-value store. The script reaches it by
	// World.Application.
	Application world.NewApplication
	// Setup prepares the disks of the members (World.SetInitialState) before they start. Without it
	// the script begins when all members follow a leader; with it, at once.
	Setup  func(*world.World)
	Script func(*Driver)
}

// Scenarios returns all scenarios, by name.
func Scenarios() []Scenario {
	all := slices.Concat(
		electionScenarios, readScenarios,
		figureScenarios, replicationScenarios, pipelineScenarios, churnScenarios, kvScenarios, clientScenarios, backlogScenarios,
		persistenceScenarios, diskScenarios, diskReadScenarios, machineDiskScenarios, unsyncedScenarios, actorScenarios, emptiedScenarios,
	)
	slices.SortFunc(all, func(a, b Scenario) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return all
}

// Run runs the script in a world that has a leader. After the script all faults end, and the
// cluster must converge.
func (sc Scenario) Run(options world.Options) *world.Result {
	options.Nodes = sc.Nodes
	options.Profile = fault.Scripted
	if sc.Application != nil {
		options.Profile.Application = sc.Application
	}
	w := world.New(options)
	w.NameScenario(sc.Name)
	w.UnrecordedStorage = !sc.RecordsStorage
	if sc.Setup != nil {
		sc.Setup(w)
	}
	s := &Driver{World: w}
	s.runScenario(sc)
	return w.Result()
}

// Driver drives a world by a script. Its methods end the script after a failure.
type Driver struct {
	*world.World
	scriptWrites uint32 // writes so far
}

// scriptEnded ends a script by a panic.
type scriptEnded struct{}

func (s *Driver) runScenario(sc Scenario) {
	defer func() {
		if reason := recover(); reason != nil {
			if _, ended := reason.(scriptEnded); !ended {
				panic(reason)
			}
		}
		s.Finish()
	}()
	if sc.Setup == nil {
		s.within(5*world.ElectionTimeout, "a first leader", s.Converged)
	}
	sc.Script(s)
	s.check()
	s.Heal()
	s.within(20*world.ElectionTimeout, "the cluster converges", s.Converged)
	s.CheckConverged()
	s.shutDownAll()
}

// shutDownAll stops all members in order and checks that no actor is left over.
func (s *Driver) shutDownAll() {
	for _, m := range s.Members {
		if m.Up() {
			m.ShutDown(false)
		}
	}
	s.within(2*world.ElectionTimeout, "all actors have stopped", func() bool {
		return !slices.ContainsFunc(s.Members, func(m *world.Member) bool { return m.Up() })
	})
	s.check()
}

func (s *Driver) check() {
	if s.Failure != nil {
		panic(scriptEnded{})
	}
}

// fail reports what the script expected and did not see.
func (s *Driver) fail(format string, values ...any) {
	s.World.Fail("script", format, values...)
	panic(scriptEnded{})
}

// within runs the world until something has happened.
func (s *Driver) within(d time.Duration, what string, happened func() bool) {
	s.Note("waits for: " + what)
	for until := s.Now() + d; !happened(); s.Step() {
		if s.Now() > until {
			s.fail("not within %v: %s%s", d, what, s.DescribeMembers())
		}
		s.check()
	}
}

// advance runs the world for some time.
func (s *Driver) advance(d time.Duration) {
	for until := s.Now() + d; s.Now() < until; s.Step() {
		s.check()
	}
}

// majorityLeader returns a leader that a majority follows; nil: there is none.
func (s *Driver) majorityLeader() *world.Member {
	for _, m := range s.Members {
		followers := 0
		for _, f := range s.Members {
			if f.Up() && f.View.LeaderID == m.ID() && f.View.Term == m.View.Term {
				followers++
			}
		}
		if m.Up() && m.View.Role == "leader" && followers > s.Size/2 {
			return m
		}
	}
	return nil
}

func (s *Driver) others(than *world.Member) (all []*world.Member) {
	for _, m := range s.Members {
		if m != than {
			all = append(all, m)
		}
	}
	return all
}

// Find returns the scenario of a name, which is one of this package or of others.
func Find(name string, others ...Scenario) (Scenario, error) {
	for _, sc := range append(Scenarios(), others...) {
		if sc.Name == name {
			return sc, nil
		}
	}
	return Scenario{}, fmt.Errorf("no scenario %q: see troupe-sim --list", name)
}
