package explain

import (
	"regexp"
	"slices"
	"strconv"

	"github.com/troupe-raft/troupe/internal/sim/trace"
)

// How much of what came before the broken step is told: a screenful.
const (
	nearRows      = 18 // what the members did that the violation names
	changeRows    = 12 // what anybody became, and what went wrong
	operationRows = 4  // of clients at those members
	growthRows    = 4  // of those members' logs and commit indexes
)

// named finds the members that a violation speaks of: "member 3", "leaders 1 and 2".
var memberNames = regexp.MustCompile(`(?i)\b(?:member|leader|node)s? (\d+)(?:(?:,| and) (\d+))?`)

// essence chooses, of the events up to a violation, those from which a person may see how it came about: all of the step
// that broke the promise; before it, the last that the members did whom the violation names (all, if it names nobody),
// without heartbeats and ticks; and, from further back, who became what and what went wrong.
func relevantEvents(events []*trace.Event) map[*trace.Event]bool {
	at := slices.IndexFunc(events, func(e *trace.Event) bool { return e.Kind == trace.Violated })
	if at < 0 {
		return nil
	}
	chosen, broken := map[*trace.Event]bool{}, events[at]
	for _, e := range events {
		if e.Step >= broken.Step {
			chosen[e] = true
		}
	}
	states, own := statesBefore(events), len(chosen)
	choose(chosen, events[:at], states, concerns(broken.Detail))
	if len(chosen)-own < nearRows { // whom it names has been silent: then it is told what the others did
		choose(chosen, events[:at], states, concerns(""))
	}
	return chosen
}

// choose takes the last events of each class into the choice, as far as there is room for them.
func choose(chosen map[*trace.Event]bool, events []*trace.Event, states map[*trace.Event]*trace.State, concerns func(*trace.Event) bool) {
	left := map[int]int{near: nearRows, change: changeRows, operation: operationRows, growth: growthRows}
	for _, e := range slices.Backward(events) {
		if chosen[e] {
			continue
		}
		for _, class := range classes(e, states[e], concerns) {
			if left[class] > 0 {
				left[class]--
				chosen[e] = true
				break
			}
		}
	}
}

// concerned tells whether an event is one of the members that a text names.
func concerns(text string) func(e *trace.Event) bool {
	members := map[uint64]bool{}
	for _, found := range memberNames.FindAllStringSubmatch(text, -1) {
		for _, digits := range found[1:] {
			if id, err := strconv.ParseUint(digits, 10, 64); err == nil {
				members[id] = true
			}
		}
	}
	return func(e *trace.Event) bool { return len(members) == 0 || members[e.Member] || members[e.Peer] }
}

// before is what the member of each change of state was before it.
func statesBefore(events []*trace.Event) map[*trace.Event]*trace.State {
	was, all := map[uint64]*trace.State{}, map[*trace.Event]*trace.State{}
	for _, e := range events {
		if e.Kind == trace.StateChanged {
			all[e] = was[e.Member]
			was[e.Member] = e.State
		}
	}
	return all
}

// Why an event may be worth a row.
const (
	near = iota
	change
	operation
	growth
)

// classes are those in which an event may be counted, the dearest first; none: it is not worth a row.
func classes(e *trace.Event, was *trace.State, concerns func(*trace.Event) bool) []int {
	own := concerns(e)
	switch e.Kind {
	case trace.Start, trace.Kill, trace.Stop, trace.Panicked, trace.FaultInjected, trace.CutOff, trace.Healed, trace.Note:
		return []int{change}
	case trace.StateChanged:
		if was == nil || was.Role != e.State.Role || was.Term != e.State.Term {
			return []int{change, near}
		}
		if own && (was.Commit != e.State.Commit || was.Vote != e.State.Vote) {
			return []int{near, growth}
		}
	case trace.LogChanged:
		switch {
		case e.Log.Last < e.Log.From:
			return []int{change, near}
		case own:
			return []int{near, growth}
		}
	case trace.Arrived, trace.Lost:
		if own && !isHeartbeat(e) {
			return []int{near}
		}
	case trace.Handled: // what came from another member is seen arriving
		if own && !betweenNodes(e.Name) && !routine[e.Name] {
			return []int{near}
		}
	case trace.Called, trace.Returned:
		if own {
			return []int{operation}
		}
	}
	return nil
}

// routine are messages within a node that say nothing by themselves.
var routine = map[string]bool{
	"Tick": true, "Flush": true, "Propose": true, "RequestRead": true, "Pull": true, "ResolveConflict": true, "Fetch": true, "Progress": true,
	"LinkUp": true, "LinkDown": true, "EnvelopesDropped": true, "Replicate": true,
}
