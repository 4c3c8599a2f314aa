package main

import (
	"fmt"
	"slices"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// lastRoundFactor is how many times more seeds the last round tries, after the usual number finds
// nothing any more.
const lastRoundFactor = 4

// scenarioSeedFactor is how many seeds of a scenario are tried for each of --shrink-tries.
const scenarioSeedFactor = 50

// shortestFailure searches for the seed with which a script fails in the fewest steps. The seed
// determines only order and times, so there is nothing else to search.
func (s *shrinker) shortestFailure() (same int) {
	o := s.best.Options
	o.Seed++
	found, same := s.keep(s.tryOptions(o, s.tries*scenarioSeedFactor))
	if found {
		s.logf("  seed %d: fails in fewer steps: %s", s.best.Options.Seed, s.target.sizeOf(s.best))
	}
	return same
}

// search tries all ways to be smaller until a round finds nothing, then once more with more seeds.
func (s *shrinker) search() {
	usual := s.tries
	for s.ctx.Err() == nil {
		before := s.best
		s.simplerProfile()
		s.fewerMembers()
		s.fewerClients()
		s.fewerKinds()
		s.fewerFaults()
		s.fewerSteps()
		s.rounds++
		switch {
		case s.best != before:
			s.tries = usual
		case s.tries == usual:
			s.tries = usual * lastRoundFactor
		default:
			return
		}
	}
}

// try runs a smaller world, beginning with the seed that failed, and keeps the smallest that fails
// the same way.
func (s *shrinker) try(what string, o world.Options) bool {
	// Faults need not happen longer than in the smallest history so far.
	if last := s.best.Failure.Step + 1; last < o.Steps {
		o.Steps = last
	}
	world := fmt.Sprint(o)
	known := s.tried[world]
	if s.tries <= known || s.ctx.Err() != nil {
		return false
	}
	s.tried[world] = s.tries
	o.Seed += uint64(known)
	if found, _ := s.keep(s.tryOptions(o, s.tries-known)); !found {
		return false
	}
	s.logf("  %s: fails, seed %d: %s", what, s.best.Options.Seed, s.target.sizeOf(s.best))
	return true
}

// simplerProfile tries profiles with fewer kinds of fault, the fewest first.
func (s *shrinker) simplerProfile() {
	now := s.best.Options.Profile
	simpler := slices.DeleteFunc(slices.Clone(s.profiles), func(p fault.Profile) bool {
		return weight(p) >= weight(now) || (p.Application == nil) != (now.Application == nil)
	})
	slices.SortStableFunc(simpler, func(a, b fault.Profile) int { return weight(a) - weight(b) })
	for _, p := range simpler {
		o := s.best.Options
		o.Profile = p
		if s.try("profile "+p.Name, o) {
			return
		}
	}
}

// weight is the number of kinds of fault in a profile.
func weight(p fault.Profile) int {
	kinds := slices.Clone(p.Faults)
	slices.Sort(kinds)
	n := len(slices.Compact(kinds))
	if p.MessageFaults {
		n++
	}
	return n
}

func (s *shrinker) fewerMembers() {
	for n := 1; n < s.best.Nodes; n++ {
		o := s.best.Options
		o.Nodes = n
		if s.try(counted(n, "member"), o) {
			return
		}
	}
	if o := s.best.Options; o.Nodes == 0 { // keep the seed's choice for the next seeds
		o.Nodes = s.best.Nodes
		s.try(counted(o.Nodes, "member"), o)
	}
}

func (s *shrinker) fewerClients() {
	for n := 1; n < s.best.Clients; n++ {
		o := s.best.Options
		o.Clients = n
		if s.try(counted(n, "client"), o) {
			return
		}
	}
}

// fewerKinds leaves out kinds of fault that happened: half of them at once, then a quarter, at last
// one by one.
func (s *shrinker) fewerKinds() {
	for part := len(s.kinds()); part > 0 && s.ctx.Err() == nil; part /= 2 {
		for at := 0; at < len(s.kinds()); {
			kinds := s.kinds()
			out := kinds[at:min(at+part, len(kinds))]
			o := s.best.Options
			o.Without = append(slices.Clone(o.Without), out...)
			if !s.try("without "+namesOf(out, fault.Kind.String), o) {
				at += part
			}
		}
		part = min(part, len(s.kinds()))
	}
}

// kinds returns the kinds of the faults that happened.
func (s *shrinker) kinds() (all []fault.Kind) {
	for kind, n := range s.best.Counts.Faults {
		if n > 0 {
			all = append(all, fault.Kind(kind))
		}
	}
	return all
}

// fewerFaults bisects: up to the limit, a history with fewer faults is the same history.
func (s *shrinker) fewerFaults() {
	for low, high := 1, faultsOf(s.best); low < high && s.ctx.Err() == nil; {
		middle := (low + high) / 2
		o := s.best.Options
		o.FaultLimit = middle
		if s.try("at most "+counted(middle, "fault"), o) {
			high = min(middle, faultsOf(s.best))
		} else {
			low = middle + 1
		}
	}
}

// fewerSteps ends the faults earlier and earlier.
func (s *shrinker) fewerSteps() {
	for _, share := range []float64{0.5, 0.75, 0.9, 1} {
		for s.ctx.Err() == nil {
			o := s.best.Options
			o.Steps = int(share * float64(min(o.Steps, s.best.Failure.Step+1)))
			if o.Steps < 1 || !s.try(counted(o.Steps, "step"), o) {
				break
			}
		}
	}
}
