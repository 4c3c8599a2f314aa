package explain

import (
	"regexp"
	"slices"
	"strconv"

	"github.com/troupe-raft/troupe/internal/sim/trace"
)

// How many rows before the violation are shown: a screenful in all.
const (
	nearRows      = 18 // actions of the members that the violation names
	changeRows    = 12 // changes of roles and terms, and faults
	operationRows = 4  // operations of clients at those members
	growthRows    = 4  // growth of those members' logs and commit indexes
)

// memberNames finds the members in the text of a violation: "member 3", "leaders 1 and 2".
var memberNames = regexp.MustCompile(`(?i)\b(?:member|leader|node)s? (\d+)(?:(?:,| and) (\d+))?`)

// relevantEvents chooses, from the events up to a violation, those that show its cause: the whole
// step of the violation; before it, the last actions of the members that it names (of all, if it
// names none), without heartbeats and ticks; and, from further back, changes of roles and faults.
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
	if len(chosen)-own < nearRows { // the named members did too little: show the others too
		choose(chosen, events[:at], states, concerns(""))
	}
	return chosen
}

// choose adds the last events of each class, as many as have room.
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

// concerns returns a function that reports whether an event is of the members that a text names.
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

// statesBefore returns, for each change of state, the state of the member before it.
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

// Classes of events that may be shown.
const (
	near = iota
	change
	operation
	growth
)

// classes returns the classes of an event, the best first; none: it is not shown.
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
	case trace.Handled: // messages from other members are shown where they arrive
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

// routine are messages within a node that carry no information by themselves.
var routine = map[string]bool{
	"Tick": true, "Flush": true, "Propose": true, "RequestRead": true, "Pull": true, "ResolveConflict": true, "Fetch": true, "ReplicationProgress": true,
	"LinkUp": true, "LinkDown": true, "EnvelopesDropped": true, "Replicate": true,
}
