package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/world"
)

// target is what seeds run on: a profile or a scenario.
type target struct {
	kind, name string // "profile" or "scenario"
	run        func(world.Options) *world.Result
	options    world.Options // all but the seed
}

// campaign runs every seed on every target, seed by seed. Workers take jobs in order, and each runs
// its worlds on one goroutine. Outcomes are reported in that order too, so nothing depends on the
// number of workers.
type campaign struct {
	seeds      seedRange
	targets    []target
	workers    int
	keepGoing  bool
	ignored    []string // invariants whose violation is no failure of the campaign
	now        func() time.Duration
	reportHung func(job) // called once for a history that does not end; may be nil

	next    atomic.Int64
	running []atomic.Pointer[job] // by worker: its present job
}

type job struct {
	number int
	seed   uint64
	target *target
	began  time.Duration
}

type outcome struct {
	job
	result *world.Result
}

func (c *campaign) jobs() int { return c.seeds.count * len(c.targets) }

func (c *campaign) job(number int) job {
	return job{number: number, seed: c.seeds.first + uint64(number/len(c.targets)), target: &c.targets[number%len(c.targets)], began: c.now()}
}

// run runs until all is done, something failed, or the context ends; it finishes what it began. It
// calls report for each outcome, in order, and returns whether it reported all that it should.
func (c *campaign) run(ctx context.Context, report func(outcome)) (complete bool) {
	stop := make(chan struct{})
	found := make(chan outcome, c.workers)
	var working sync.WaitGroup
	for n := range c.workers {
		working.Go(func() { c.work(ctx, stop, n, found) })
	}
	go func() { working.Wait(); close(found) }()
	over := make(chan struct{})
	defer close(over)
	if c.reportHung != nil {
		go c.watch(over)
	}

	// Outcomes before the one that is due wait here. After a failure the earlier outcomes are still
	// awaited.
	early, due, failed := map[int]outcome{}, 0, false
	stopped := false
	for o := range found {
		if c.isFailure(o) && !c.keepGoing && !stopped {
			stopped = true
			close(stop)
		}
		early[o.number] = o
		for !failed {
			next, here := early[due]
			if !here {
				break
			}
			delete(early, due)
			due++
			report(next)
			failed = c.isFailure(next) && !c.keepGoing
		}
	}
	return failed || due == c.jobs()
}

// isFailure reports whether a result is a failure that is not excused.
func (c *campaign) isFailure(o outcome) bool {
	return o.result.Failure != nil && !slices.Contains(c.ignored, o.result.Failure.Invariant)
}

func (c *campaign) work(ctx context.Context, stop <-chan struct{}, worker int, found chan<- outcome) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-stop:
			return
		default:
		}
		number := int(c.next.Add(1)) - 1
		if number >= c.jobs() {
			return
		}
		j := c.job(number)
		c.running[worker].Store(&j)
		found <- outcome{j, j.target.runSeed(j.seed)}
		c.running[worker].Store(nil)
	}
}

// oldest returns the job that has been running for longest.
func (c *campaign) oldest() (j job, any bool) {
	for i := range c.running {
		if r := c.running[i].Load(); r != nil && (!any || r.began < j.began) {
			j, any = *r, true
		}
	}
	return
}

// hungAfter is how long a history may take: most take some milliseconds, none a second. One that
// takes longer is in a step that never ends, which only the real clock can show.
const hungAfter = 2 * time.Minute

// watch watches the workers until all is over.
func (c *campaign) watch(over <-chan struct{}) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-over:
			return
		case <-every.C:
			if j, any := c.oldest(); any && c.now()-j.began > hungAfter {
				c.reportHung(j)
				return
			}
		}
	}
}

// runSeed runs one seed. A panic of the simulator itself is a failure of that seed, and does not
// end the campaign.
func (s *target) runSeed(seed uint64) *world.Result {
	o := s.options
	o.Seed = seed
	return recoverPanics(s.run, o)
}

// simulatorInvariant is violated by worlds that do not end.
const simulatorInvariant = "the simulator works"

func recoverPanics(play func(world.Options) *world.Result, o world.Options) (r *world.Result) {
	defer func() {
		if reason := recover(); reason != nil {
			r = &world.Result{Options: o, Nodes: o.Nodes, Failure: &world.Failure{
				Invariant: simulatorInvariant, Text: fmt.Sprintf("it panicked: %v\n%s", reason, debug.Stack()),
			}}
		}
	}()
	return play(o)
}
