package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// shrinker searches for a smaller history that fails the same way. Taking something away from a
// world changes all later random choices, so a single fault cannot be left out of a history: a
// smaller world is another world. So each is tried with a number of seeds, by all workers at once,
// and the smallest of those that fail the same way is kept. shrink_search.go chooses the worlds.
// The result depends on the flags alone, unless time or an interrupt ends the search.
type shrinker struct {
	target   *target
	profiles []fault.Profile
	tries    int // seeds for each smaller world
	workers  int
	limit    time.Duration
	logf     func(format string, values ...any)

	ctx     context.Context
	best    *world.Result
	rounds  int
	tried   map[string]int // by world: with how many seeds it was tried
	began   time.Time
	worlds  atomic.Int64
	smaller atomic.Int64 // how often something smaller was found
}

// shrunk is the result of a search.
type shrunk struct {
	from, result *world.Result
	worlds       int
	sameFailures int   // of a scenario: seeds that fail the same way
	cut          error // why the search ended early
}

// errShrinkTime: the search reached its time limit.
var errShrinkTime = errors.New("the time limit (--shrink-for) was reached")

func (s *shrinker) shrink(ctx context.Context, failed *world.Result) *shrunk {
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithTimeoutCause(ctx, s.limit, errShrinkTime)
	defer cancel()
	s.best, s.tried = failed, map[string]int{}
	s.logf("shrinking a failure of %q for at most %v: %s", failed.Failure.Invariant, s.limit, s.target.sizeOf(failed))
	result := &shrunk{from: failed}
	if s.target.kind == "scenario" {
		result.sameFailures = s.shortestFailure()
	} else {
		s.search()
	}
	result.result, result.worlds, result.cut = s.best, int(s.worlds.Load()), context.Cause(s.ctx)
	return result
}

// progressText describes the progress of the search.
func (s *shrinker) progressText() string {
	return fmt.Sprintf("shrinking: %s worlds tried, %d times a smaller one found, %v of %v",
		thousands(int(s.worlds.Load())), s.smaller.Load(), time.Since(s.began).Round(time.Second), s.limit)
}

// tryOptions runs worlds with these options, with consecutive seeds. The result of a world that did
// not run is nil.
func (s *shrinker) tryOptions(o world.Options, seeds int) []*world.Result {
	results := make([]*world.Result, seeds)
	var next atomic.Int64
	var working sync.WaitGroup
	for range min(s.workers, seeds) {
		working.Go(func() {
			for s.ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= seeds {
					return
				}
				s.worlds.Add(1)
				one := o
				one.Seed = o.Seed + uint64(n)
				results[n] = recoverPanics(s.target.run, one)
			}
		})
	}
	working.Wait()
	return results
}

// keep keeps the smallest of the results that fail the same way, if it is smaller than the best.
func (s *shrinker) keep(results []*world.Result) (found bool, same int) {
	for _, r := range results {
		if r == nil || !sameFailure(r.Failure, s.best.Failure) {
			continue
		}
		same++
		if s.target.size(r) < s.target.size(s.best) {
			s.best, found = r, true
		}
	}
	if found {
		s.smaller.Add(1)
	}
	return found, same
}

var numbers = regexp.MustCompile(`[0-9]+`)

// sameFailure reports whether two failures violate the same invariant. Failures of a script, or of
// the simulator itself, are the same only at the same place.
func sameFailure(a, b *world.Failure) bool {
	if a == nil || a.Invariant != b.Invariant {
		return false
	}
	if a.Invariant != "script" && a.Invariant != simulatorInvariant {
		return true
	}
	first := func(text string) string {
		line, _, _ := strings.Cut(text, "\n")
		return numbers.ReplaceAllString(line, "#")
	}
	return first(a.Text) == first(b.Text)
}

// size is how much a person has to read: halving one factor compensates for doubling another.
func (s *target) size(r *world.Result) float64 {
	if s.kind == "scenario" {
		// Of equal ones the one with fewer messages.
		return float64(r.Failure.Step) + float64(r.Counts.Messages)/1e9
	}
	kinds := 0
	for _, n := range r.Counts.Faults {
		kinds += min(n, 1)
	}
	size := (1 + float64(kinds)/100) * float64(r.Failure.Step+100) * float64(faultsOf(r)+1) * float64(max(r.Nodes, 1)) * float64(r.Clients+1)
	if r.Options.Profile.MessageFaults {
		size *= 2 // messages are also lost, delayed and duplicated
	}
	return size
}

func faultsOf(r *world.Result) (n int) {
	for _, of := range r.Counts.Faults {
		n += of
	}
	return n
}

// sizeOf describes the size of a history.
func (s *target) sizeOf(r *world.Result) string {
	if s.kind == "scenario" {
		return fmt.Sprintf("seed %d, %s, %s between members", r.Options.Seed, counted(r.Failure.Step, "step"), counted(r.Counts.Messages, "message"))
	}
	var kinds []string
	for k, n := range r.Counts.Faults {
		if n > 0 {
			kinds = append(kinds, fault.Kind(k).String())
		}
	}
	what := "no faults"
	if n := faultsOf(r); n > 0 {
		what = fmt.Sprintf("%s (%s)", counted(n, "fault"), strings.Join(kinds, ", "))
	}
	return fmt.Sprintf("profile %s, %s, %s, %s, %s", r.Options.Profile.Name, counted(r.Nodes, "member"), counted(r.Clients, "client"), what,
		counted(r.Failure.Step, "step"))
}

// counted returns "1 fault" or "2 faults".
func counted(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + one + "s"
}

func failing(n int) string {
	switch n {
	case 0:
		return "none fails"
	case 1:
		return "one fails"
	}
	return thousands(n) + " fail"
}

// write writes the smaller failure like the first one.
func (s *shrunk) write(out io.Writer, t *target) {
	defer fmt.Fprintln(out)
	if t.kind == "scenario" {
		fmt.Fprintf(out, "SHRUNK  a script determines members and faults, so that nothing can be taken away from it;\n"+
			"        tried were %s, of which %s the same way\n", counted(s.worlds, "other seed"), failing(s.sameFailures))
	} else if s.result != s.from {
		fmt.Fprintf(out, "SHRUNK  in %s worlds\n", thousands(s.worlds))
	}
	switch {
	case s.result != s.from:
		fmt.Fprintf(out, "        from %s\n        to   %s\n", t.sizeOf(s.from), t.sizeOf(s.result))
	case t.kind == "scenario":
		fmt.Fprintln(out, "        none of them is shorter than the one that failed")
	default:
		fmt.Fprintf(out, "SHRUNK  %s worlds tried; none is smaller and fails the same way\n", thousands(s.worlds))
	}
	switch {
	case errors.Is(s.cut, errShrinkTime):
		fmt.Fprintf(out, "        %v: there may be smaller ones\n", s.cut)
	case s.cut != nil:
		fmt.Fprintln(out, "        interrupted: there may be smaller ones")
	}
	if s.result != s.from {
		fmt.Fprintln(out)
		writeFailure(out, outcome{job{seed: s.result.Options.Seed, target: t}, s.result})
	}
}
