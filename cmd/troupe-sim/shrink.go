package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/troupe-raft/troupe/tests/sim"
)

// shrinker finds a smaller history that fails the same way: a simpler profile, fewer members, fewer kinds of fault, fewer
// faults, fewer steps. Whatever is taken away changes what the seed draws after it, so each smaller world is tried with a
// few more seeds than the one that failed. Only what breaks the same promise counts.
type shrinker struct {
	run      func(sim.Options) *sim.Result
	profiles []sim.Profile
	tries    int // seeds for each smaller world
	say      func(format string, values ...any)

	ctx    context.Context
	best   *sim.Result
	tried  map[string]bool // worlds that do not fail
	worlds int
}

// shrunk is the smallest that was found.
type shrunk struct {
	from, result *sim.Result
	worlds       int
	complete     bool // not interrupted
}

func (s *shrinker) shrink(ctx context.Context, failed *sim.Result) *shrunk {
	s.ctx, s.best, s.tried = ctx, failed, map[string]bool{}
	s.say("shrinking a failure of %q: %s", failed.Failure.Invariant, sizeOf(failed))
	for smaller := true; smaller && ctx.Err() == nil; {
		before := s.best
		s.simplerProfile()
		s.fewerMembers()
		s.fewerClients()
		s.fewerKinds()
		s.fewerFaults()
		s.fewerSteps()
		smaller = s.best != before
	}
	return &shrunk{failed, s.best, s.worlds, ctx.Err() == nil}
}

// sizeOf is what a history is measured by.
func sizeOf(r *sim.Result) string {
	faults := 0
	var kinds []string
	for k, n := range r.Counts.Faults {
		if faults += n; n > 0 {
			kinds = append(kinds, sim.Fault(k).String())
		}
	}
	what := "no faults"
	if faults > 0 {
		what = fmt.Sprintf("%d faults (%s)", faults, strings.Join(kinds, ", "))
	}
	return fmt.Sprintf("profile %s, %d members, %d clients, %s, %d steps", r.Options.Profile.Name, r.Nodes, r.Clients, what, r.Failure.Step)
}

// try plays a smaller world, with the seed that failed first, and keeps what fails the same way.
func (s *shrinker) try(what string, o sim.Options) bool {
	if s.tried[fmt.Sprint(o)] {
		return false
	}
	s.tried[fmt.Sprint(o)] = true
	for n := range uint64(s.tries) {
		if s.ctx.Err() != nil {
			return false
		}
		if n > 0 {
			o.Seed = s.best.Options.Seed + n
		}
		s.worlds++
		r := guarded(s.run, o)
		if r.Failure != nil && r.Failure.Invariant == s.best.Failure.Invariant && noLarger(r, s.best) {
			s.say("  %s: fails, seed %d: %s", what, o.Seed, sizeOf(r))
			s.best = r
			return true
		}
	}
	s.say("  %s: does not fail in %d seeds", what, s.tries)
	return false
}

// noLarger: what is simpler in one way must not be longer, or more unfortunate, in another.
func noLarger(r, than *sim.Result) bool {
	return r.Failure.Step <= than.Failure.Step && faultsOf(r) <= faultsOf(than)
}

func faultsOf(r *sim.Result) (n int) {
	for _, of := range r.Counts.Faults {
		n += of
	}
	return n
}

// simplerProfile tries profiles with fewer kinds of fault, the fewest first.
func (s *shrinker) simplerProfile() {
	now := s.best.Options.Profile
	simpler := slices.DeleteFunc(slices.Clone(s.profiles), func(p sim.Profile) bool { return weight(p) >= weight(now) })
	slices.SortStableFunc(simpler, func(a, b sim.Profile) int { return weight(a) - weight(b) })
	for _, p := range simpler {
		o := s.best.Options
		o.Profile = p
		if s.try("profile "+p.Name, o) {
			return
		}
	}
}

// weight is how much can go wrong in a profile.
func weight(p sim.Profile) int {
	kinds := slices.Clone(p.Faults)
	slices.Sort(kinds)
	n := len(slices.Compact(kinds))
	if p.Messages {
		n++
	}
	return n
}

func (s *shrinker) fewerMembers() {
	for n := 1; n < s.best.Nodes; n++ {
		o := s.best.Options
		o.Nodes = n
		if s.try(fmt.Sprintf("%d members", n), o) {
			return
		}
	}
}

func (s *shrinker) fewerClients() {
	for n := 1; n < s.best.Clients; n++ {
		o := s.best.Options
		o.Clients = n
		if s.try(fmt.Sprintf("%d clients", n), o) {
			return
		}
	}
}

// fewerKinds leaves out one kind of fault after the other, of those that happened.
func (s *shrinker) fewerKinds() {
	for _, kind := range sim.FaultKinds() {
		if s.best.Counts.Faults[kind] == 0 {
			continue
		}
		o := s.best.Options
		o.Without = append(slices.Clone(o.Without), kind)
		s.try("without "+kind.String(), o)
	}
}

// fewerFaults bisects: up to the limit, a history with fewer faults is the same history.
func (s *shrinker) fewerFaults() {
	for low, high := 1, faultsOf(s.best); low < high && s.ctx.Err() == nil; {
		middle := (low + high) / 2
		o := s.best.Options
		o.FaultLimit = middle
		if s.try(fmt.Sprintf("at most %d faults", middle), o) {
			high = middle
		} else {
			low = middle + 1
		}
	}
}

// fewerSteps ends misfortune where the failure was seen, then tries to see it earlier.
func (s *shrinker) fewerSteps() {
	o := s.best.Options
	if last := s.best.Failure.Step + 1; last < o.Steps {
		o.Steps = last
		s.try(fmt.Sprintf("%d steps", last), o)
	}
	for s.ctx.Err() == nil {
		o = s.best.Options
		if o.Steps = o.Steps / 2; o.Steps < 1 || !s.try(fmt.Sprintf("%d steps", o.Steps), o) {
			return
		}
	}
}

// tell writes the smaller failure as the first one was written.
func (s *shrunk) tell(out io.Writer, subject *subject) {
	if s.result == s.from {
		fmt.Fprintf(out, "SHRUNK  %d worlds tried; none is smaller and fails the same way\n\n", s.worlds)
		return
	}
	fmt.Fprintf(out, "SHRUNK  in %d worlds\n        from %s\n        to   %s\n", s.worlds, sizeOf(s.from), sizeOf(s.result))
	if !s.complete {
		fmt.Fprintln(out, "        interrupted: there may be smaller ones")
	}
	fmt.Fprintln(out)
	tellFailure(out, outcome{job{seed: s.result.Options.Seed, subject: subject}, s.result})
}
