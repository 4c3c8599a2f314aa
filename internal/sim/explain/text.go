package explain

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/trace"
)

// Text writes a trace as a space-time diagram: time downwards, a column a member, messages as
// arrows from the lane of the sender to that of the receiver at the moment of arrival, and other
// texts in the margin.
func Text(w io.Writer, r io.Reader, o Options) error {
	in, err := trace.NewReader(r)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	t := newTable(out, in.Header(), NewCluster(in.Header().Nodes), o)
	t.titled = true
	var ends error
	for {
		e, err := in.Next()
		if err == io.EOF {
			if !in.Complete() {
				ends = ErrNoEnd
			}
			break
		}
		if err != nil {
			ends = err
			break
		}
		if o.after(e) {
			break
		}
		t.add(e)
	}
	t.flush()
	if !t.begun {
		return firstError(ends, nothingError(&t.hidden))
	}
	t.finish()
	return firstError(out.Flush(), ends)
}

// ErrNothing reports that the options hide all of a trace.
var ErrNothing = errors.New("nothing to show")

// ErrNoEnd reports that a trace ends early, at the end of a line; what there is was shown.
var ErrNoEnd = errors.New("the trace has no end: the file was truncated, or its run was interrupted")

func nothingError(h *hiddenCounts) error {
	if left := h.String(); left != "" {
		return fmt.Errorf("%w: hidden are %s", ErrNothing, left)
	}
	return ErrNothing
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Listing shows the last events of a run that failed, of members in the given state before them:
// what led to the failure, or all.
func Listing(h trace.Header, before *Cluster, events []*trace.Event, all bool) string {
	var b strings.Builder
	out := bufio.NewWriter(&b)
	t := newTable(out, h, before.Clone(), Options{Heartbeats: true, Actors: true})
	t.failed, t.listing = violationStep(events), true
	if !all {
		t.chosen = relevantEvents(events)
	}
	for _, e := range events {
		t.add(e)
	}
	t.finish()
	if t.chosen != nil && t.hidden.others > 0 {
		fmt.Fprintf(out, "not shown: %d more of the last %d events; --all shows them\n", t.hidden.others, len(events))
	}
	out.Flush()
	return b.String()
}

// violationStep returns the step of the violation, -1: there is none.
func violationStep(events []*trace.Event) int {
	for _, e := range events {
		if e.Kind == trace.Violated {
			return e.Step
		}
	}
	return -1
}

// table writes rows. Its columns: the time, a lane with texts for each member, the margin.
type table struct {
	out        *bufio.Writer
	header     trace.Header
	options    Options
	cluster    *Cluster
	hidden     hiddenCounts
	flights    map[uint64]time.Duration // message → when it was sent
	duplicates map[uint64]bool          // duplicated messages that have arrived once
	failed     int                      // the step that violated an invariant
	listing    bool                     // the violation was printed before
	chosen     map[*trace.Event]bool    // the events to show; nil: as the options say

	column, margin int
	rows           int
	titled, begun  bool
	at             time.Duration // of the last row
	pending        *pendingRow
}

const timeWidth = 12

func newTable(out *bufio.Writer, h trace.Header, c *Cluster, o Options) *table {
	width := o.Width
	if width == 0 {
		width = 120
	}
	n := max(len(c.Members), 1)
	column := min(max((width-timeWidth-30)/n, 12), 24)
	return &table{
		out: out, header: h, options: o, cluster: c, flights: map[uint64]time.Duration{}, duplicates: map[uint64]bool{}, failed: -1,
		column: column, margin: max(width-timeWidth-n*column, 24),
	}
}

func (t *table) title() {
	fmt.Fprintf(t.out, "%s\n", clean(title(t.header)))
	fmt.Fprintf(t.out, "lanes: ┃ leader  ╎ (pre-)candidate  │ follower  · down     logs: a digit an entry, the last of its term; [committed]\n")
	fmt.Fprintf(t.out, "arrows are where messages arrive, ✕ where they are lost; 5/2 is index 5 of term 2; t4 is term 4\n\n")
}

// writeMembers repeats the state of all members, so that any screenful can be read alone.
func (t *table) writeMembers() {
	names, logs := t.lanes(), t.lanes()
	for i := range t.cluster.Members {
		m := &t.cluster.Members[i]
		names.put(t.lane(m.ID), fmt.Sprintf("%d %s", m.ID, m.summary(t.column-3)))
		logs.put(t.lane(m.ID)+2, logStrip(m, t.column-3))
	}
	t.write(t.at, names, "", false)
	t.write(t.at, logs, "", false)
}

// summary describes a member in so many columns: the term matters more than the word before it.
func (m *Member) summary(width int) string {
	switch {
	case m.DownReason != "":
		return clip(m.DownReason, width)
	case m.State.Role == "":
		return "–"
	case m.State.Term == 0:
		return clip(role(m.State.Role), width)
	}
	long := fmt.Sprintf("%s t%d", role(m.State.Role), m.State.Term)
	if brief, known := briefRoles[m.State.Role]; known && len(long) > width {
		return clip(fmt.Sprintf("%s t%d", brief, m.State.Term), width)
	}
	return clip(long, width)
}

// briefRoles are for narrow columns.
var briefRoles = map[string]string{"follower": "foll.", "candidate": "cand.", "preCandidate": "pre.", "leader": "lead.", "recovering": "rec."}

// role is short enough for most columns.
func role(r string) string {
	switch r {
	case "preCandidate":
		return "pre-cand."
	case "recovering":
		return "recovers"
	}
	return r
}

// add applies an event and writes it if it is shown.
func (t *table) add(e *trace.Event) {
	if p := t.pending; p != nil && p.cuts(e) {
		t.cluster.Apply(e)
		if t.shows(e) {
			p.margin += fmt.Sprintf(", %d→%d", e.Member, e.Peer)
		}
		return
	}
	if p := t.pending; p != nil && (p.event.Step != e.Step || p.event.Member != e.Member || isMessage(e)) {
		t.flush()
	}
	was := t.cluster.at(e.Member)
	t.cluster.Apply(e)
	latency, again := t.track(e)
	if t.options.before(e) || !t.shows(e) {
		return
	}
	if e.Kind == trace.Arrived || e.Kind == trace.Lost {
		t.begin(e, &was)
		t.arrow(e, latency, again)
		return
	}
	if words, margin := t.words(e, &was); len(words) > 0 || margin != "" {
		t.begin(e, &was)
		t.hold(e, words, margin)
	}
}

func (t *table) shows(e *trace.Event) bool {
	switch {
	case t.chosen == nil:
		return t.options.shows(e, &t.hidden)
	case t.chosen[e]:
		return true
	}
	t.hidden.others++
	return false
}

// begin is called before each row. The first row has the title above it; after some rows the state
// of all members is repeated, as it was before the event.
func (t *table) begin(e *trace.Event, was *Member) {
	if !t.begun || t.rows >= 48 && t.chosen == nil {
		switch {
		case t.begun:
			t.flush()
			fmt.Fprintln(t.out)
		case t.titled:
			t.title()
			fallthrough
		default:
			t.at = e.At // a part of a run begins at its first event
		}
		t.begun, t.rows = true, 0
		if e.Member != 0 {
			m := &t.cluster.Members[e.Member-1]
			now := *m
			*m = *was
			t.writeMembers()
			*m = now
		} else {
			t.writeMembers()
		}
	}
	t.gap(e)
	t.at = e.At
}

// at returns a member; the zero Member for events that concern all.
func (c *Cluster) at(id uint64) Member {
	// A foreign file may name one that its header does not count.
	if id == 0 || id > uint64(len(c.Members)) {
		return Member{ID: id}
	}
	return c.Members[id-1]
}

// track returns how long a message was in transit, and whether it has arrived before.
func (t *table) track(e *trace.Event) (latency time.Duration, again bool) {
	switch e.Kind {
	case trace.Sent:
		t.flights[e.ID] = e.At
	case trace.Duplicated:
		t.duplicates[e.ID] = false
	case trace.Arrived, trace.Lost:
		if left, known := t.flights[e.ID]; known {
			latency = e.At - left
		}
		arrived, doubled := t.duplicates[e.ID]
		if doubled && !arrived {
			t.duplicates[e.ID] = true
			return latency, false
		}
		delete(t.flights, e.ID)
		delete(t.duplicates, e.ID)
		return latency, arrived
	}
	return latency, again
}

// gap mentions hidden heartbeats where much time has passed.
func (t *table) gap(e *trace.Event) {
	if t.hidden.since > 0 && e.At-t.at > 200*time.Millisecond {
		t.write(t.at, t.lanes(), fmt.Sprintf("⋮ %d heartbeats and responses", t.hidden.since), false)
	}
	if t.hidden.since > 0 && e.At > t.at {
		t.hidden.since = 0
	}
}

func (t *table) finish() {
	t.flush()
	if t.begun {
		fmt.Fprintln(t.out)
		t.writeMembers()
	}
	if h := t.hidden.String(); h != "" && t.chosen == nil {
		fmt.Fprintf(t.out, "not shown: %s\n", h)
	}
}

// clean removes control characters of a foreign file.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
