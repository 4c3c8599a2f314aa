package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/world"
)

// summary adds up all outcomes. They come in order, so it depends on the seeds alone, except for
// times.
type summary struct {
	campaign *campaign

	mutex     *sync.Mutex // the progress line reads while outcomes come
	histories int
	members   map[int]int // histories by size of the cluster
	steps     int
	virtual   time.Duration
	counts    world.Counts
	outcomes  []outcome // failures; with keepAll, all
	keepAll   bool
	first     *outcome
	took      time.Duration
}

func newSummary(c *campaign, keepAll bool) summary {
	return summary{campaign: c, keepAll: keepAll, mutex: &sync.Mutex{}, members: map[int]int{}}
}

func (s *summary) add(o outcome) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.histories++
	s.members[o.result.Nodes]++
	s.steps += o.result.Steps
	s.virtual += o.result.Virtual
	s.counts.Add(&o.result.Counts)
	if s.first == nil {
		s.first = &o
	}
	if o.result.Failure != nil || s.keepAll {
		s.outcomes = append(s.outcomes, o)
	}
}

func (s *summary) failed() (n int) {
	for _, o := range s.outcomes {
		if o.result.Failure != nil {
			n++
		}
	}
	return n
}

// failedRun reports whether a failure was not excused.
func (s *summary) failedRun() bool { return slices.ContainsFunc(s.outcomes, s.campaign.isFailure) }

func (s *summary) firstFailure() *outcome {
	for i := range s.outcomes {
		if s.outcomes[i].result.Failure != nil {
			return &s.outcomes[i]
		}
	}
	return nil
}

// stuckAfter is how long a history may take before the progress line names it: most take some
// milliseconds.
const stuckAfter = 20 * time.Second

// progressText describes the progress.
func (s *summary) progressText() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	now := s.campaign.now()
	text := fmt.Sprintf("%s%s histories, %s messages a second, %.0f virtual seconds a second",
		thousands(s.histories), s.ofTotal(), thousands(perSecond(s.counts.Handled, now)), s.virtual.Seconds()/max(now.Seconds(), 1e-9))
	if s.histories > 0 && s.campaign.jobs() < maxSeeds {
		left := time.Duration(float64(now) / float64(s.histories) * float64(s.campaign.jobs()-s.histories))
		text += fmt.Sprintf(", %v left", left.Round(time.Second))
	}
	if n := s.failed(); n > 0 {
		text += fmt.Sprintf(", %d FAILED", n)
	}
	if j, any := s.campaign.oldest(); any && now-j.began > stuckAfter {
		text += fmt.Sprintf("; seed %d of %s has been running for %v", j.seed, j.target.name, (now - j.began).Round(time.Second))
	}
	return text
}

func perSecond(n int, d time.Duration) int { return int(float64(n) / max(d.Seconds(), 1e-9)) }

// write writes the table at the end.
func (s *summary) write(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, values...))
	}
	var names []string
	for _, sub := range s.campaign.targets {
		names = append(names, sub.name)
	}
	row("seeds", "%v", s.seeds())
	row(s.campaign.targets[0].kind, "%s", strings.Join(names, ", "))
	row("histories", "%s%s%s", thousands(s.histories), s.ofTotal(), s.sizes())
	row("steps", "%s", thousands(s.steps))
	row("messages", "%s handled by actors, %s a second by %d workers in %v",
		thousands(s.counts.Handled), thousands(perSecond(s.counts.Handled, s.took)), s.campaign.workers, s.took.Round(time.Millisecond))
	row("virtual time", "%.2f hours, %.0f seconds a real second", s.virtual.Hours(), s.virtual.Seconds()/max(s.took.Seconds(), 1e-9))
	for _, g := range groups(&s.counts) {
		row(g.name, "%s", g.text())
	}
	if n := s.failed(); n > 0 {
		row("failures", "%d: %s", n, s.failures())
	} else {
		row("failures", "none")
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// seeds returns the seeds that were begun.
func (s *summary) seeds() seedRange {
	done := s.campaign.seeds
	subjects := len(s.campaign.targets)
	done.count = max(1, (s.histories+subjects-1)/subjects)
	return done
}

// ofTotal is " of N", if there is an end.
func (s *summary) ofTotal() string {
	if s.campaign.jobs() >= maxSeeds {
		return ""
	}
	return " of " + thousands(s.campaign.jobs())
}

// sizes describes the sizes of the clusters.
func (s *summary) sizes() string {
	var sizes []string
	for n := range 100 {
		if c := s.members[n]; c > 0 {
			sizes = append(sizes, fmt.Sprintf("%d of %d", c, n))
		}
	}
	if len(sizes) == 0 {
		return ""
	}
	return ": " + strings.Join(sizes, ", ") + " members"
}

// failures lists the violated invariants, with the seeds.
func (s *summary) failures() string {
	seeds, order := map[string][]string{}, []string{}
	for _, o := range s.outcomes {
		if f := o.result.Failure; f != nil {
			if seeds[f.Invariant] == nil {
				order = append(order, f.Invariant)
			}
			seeds[f.Invariant] = append(seeds[f.Invariant], fmt.Sprint(o.seed))
		}
	}
	var words []string
	for _, name := range order {
		some := seeds[name]
		if len(some) > 10 {
			some = append(slices.Clone(some[:10]), "…")
		}
		excused := ""
		if slices.Contains(s.campaign.ignored, name) {
			excused = ", excused"
		}
		words = append(words, fmt.Sprintf("%s (%d: %s%s)", name, len(seeds[name]), strings.Join(some, " "), excused))
	}
	return strings.Join(words, "; ")
}

func thousands(n int) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
