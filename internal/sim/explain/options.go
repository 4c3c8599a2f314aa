package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/trace"
)

// Options select what of a trace is shown. The zero value shows what people look for first.
type Options struct {
	// Bounds, both inclusive; 0: none.
	FromStep, ToStep int
	From, To         time.Duration
	// Only, if not empty, are the kinds of event (trace.Kind) or the names of messages to show.
	Only []string
	// Heartbeats and their responses are hidden unless this is set.
	Heartbeats bool
	// Actors also shows each message that an actor handles.
	Actors bool
	// Width is the width of the terminal, in columns; 0: 120.
	Width int
	// Limit is how many events the page has at most; 0: DefaultLimit. The page of a longer trace has
	// the last ones if the trace ends in a failure, else the first.
	Limit int
}

// DefaultLimit keeps a page below a few megabytes and the browser fast.
const DefaultLimit = 15_000

// before and after report whether an event lies outside of the bounds.
func (o *Options) before(e *trace.Event) bool { return e.Step < o.FromStep || e.At < o.From }

func (o *Options) after(e *trace.Event) bool {
	return o.ToStep > 0 && e.Step > o.ToStep || o.To > 0 && e.At > o.To
}

// hiddenCounts counts what is not shown, by reason.
type hiddenCounts struct {
	heartbeats, actors, others int
	since                      int // heartbeats since the last mention of them
}

// shows reports whether an event is shown, and counts it if not.
func (o *Options) shows(e *trace.Event, h *hiddenCounts) bool {
	named := slices.Contains(o.Only, e.Name)
	switch {
	case len(o.Only) > 0 && !o.asksForKind(e.Kind) && !named && e.Kind != trace.Violated:
		h.others++
	// A message between nodes is shown where it arrives; one within a node only where it is handled.
	case e.Kind == trace.Handled && !o.Actors && !o.asksForKind(e.Kind) && (!named || betweenNodes(e.Name)):
		h.actors++
	case isHeartbeat(e) && !o.Heartbeats && len(o.Only) == 0:
		if e.Kind != trace.Sent {
			h.heartbeats++
			h.since++
		}
	default:
		return true
	}
	return false
}

func (h *hiddenCounts) String() string {
	var all []string
	for _, part := range []struct {
		n         int
		one, many string
	}{
		{h.heartbeats, "heartbeat or response", "heartbeats and responses"}, {h.actors, "message within a node", "messages within nodes"},
		{h.others, "event of another kind", "events of other kinds"},
	} {
		switch {
		case part.n == 1:
			all = append(all, "1 "+part.one)
		case part.n > 1:
			all = append(all, fmt.Sprintf("%d %s", part.n, part.many))
		}
	}
	return strings.Join(all, ", ")
}

// asksForKind reports whether a kind of event was requested by its name.
func (o *Options) asksForKind(k trace.Kind) bool { return slices.Contains(o.Only, string(k)) }

func isMessage(e *trace.Event) bool {
	switch e.Kind {
	case trace.Sent, trace.Arrived, trace.Lost, trace.Duplicated:
		return true
	}
	return false
}

func isHeartbeat(e *trace.Event) bool {
	return isMessage(e) && (e.Name == "Heartbeat" || e.Name == "HeartbeatResponse")
}

// labels are short names of messages, for arrows.
var labels = map[string]string{
	"RequestVote": "Vote?", "VoteResponse": "Vote", "RequestPreVote": "PreVote?", "PreVoteResponse": "PreVote",
	"AppendEntries": "Append", "AppendResponse": "Append", "Heartbeat": "beat", "HeartbeatResponse": "beat ✓",
	"ForwardedProposals": "forward", "ProposalsRefused": "forward", "ForwardedRead": "Read?", "ForwardedReadResponse": "Read",
}

func betweenNodes(name string) bool {
	_, known := labels[name]
	return known || name == "TimeoutNow" || name == "Removed"
}

// label is the text on the arrow of a message.
func label(e *trace.Event) string {
	short, known := labels[e.Name]
	if !known {
		return e.Name
	}
	switch e.Name {
	case "VoteResponse", "PreVoteResponse", "AppendResponse", "ForwardedReadResponse", "ProposalsRefused":
		if e.Name == "ProposalsRefused" || strings.Contains(e.Detail, "refused") {
			return short + " ✗"
		}
		return short + " ✓"
	}
	return short
}

func title(h trace.Header) string {
	what := "profile " + h.Profile
	if h.Scenario != "" {
		what = "scenario " + h.Scenario
	}
	return fmt.Sprintf("%s, seed %d, %d nodes", what, h.Seed, h.Nodes)
}
