package explain

import (
	"fmt"
	"io"
	"strings"

	"github.com/troupe-raft/troupe/internal/sim/trace"
)

// eventWindow is the part of a trace that a page has, and the members before it.
type eventWindow struct {
	base    *Cluster
	events  []*trace.Event
	skipped int // events before those
	total   int // of those that the options show
	hidden  hiddenCounts
	whole   bool
	damage  error // what follows cannot be read
}

// readEvents reads a trace and keeps the first events, or the last ones if it ends in a failure and
// no beginning was given. Memory is bounded by the limit.
func readEvents(in *trace.Reader, o Options) (*eventWindow, error) {
	limit := o.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	first := &eventWindow{base: NewCluster(in.Header().Nodes)}
	last := &eventWindow{base: NewCluster(in.Header().Nodes)}
	var hides hiddenCounts
	total, failed := 0, false
	var damage error
	for {
		e, err := in.Next()
		if err != nil {
			if err != io.EOF {
				damage = err
			}
			break
		}
		if o.after(e) {
			break
		}
		if o.before(e) {
			first.base.Apply(e)
			last.base.Apply(e)
			continue
		}
		// Changes of members are always kept: the page needs them for states and logs.
		if !changes(e) && !o.shows(e, &hides) {
			continue
		}
		total++
		failed = failed || e.Kind == trace.Violated
		if len(first.events) < limit {
			first.events = append(first.events, e)
		}
		if last.events = append(last.events, e); len(last.events) >= 2*limit {
			last.trim(limit)
		}
	}
	w := first
	if failed && o.FromStep == 0 && o.From == 0 {
		w = last
		w.trim(limit)
	}
	switch {
	case damage != nil && total == 0:
		return nil, damage
	case total == 0:
		return nil, nothingError(&hides)
	}
	w.total, w.hidden, w.whole, w.damage = total, hides, in.Complete(), damage
	return w, nil
}

// trim applies the oldest events to the base until limit are left.
func (w *eventWindow) trim(limit int) {
	for len(w.events) > limit {
		w.base.Apply(w.events[0])
		w.events[0] = nil
		w.events = w.events[1:]
		w.skipped++
	}
}

func changes(e *trace.Event) bool {
	switch e.Kind {
	case trace.Start, trace.Kill, trace.Stop, trace.StateChanged, trace.LogChanged, trace.Applied, trace.CutOff, trace.Healed:
		return true
	}
	return false
}

// String describes which part of the trace is shown, and what is not.
func (w *eventWindow) String() string {
	var says []string
	if n := len(w.events); n < w.total {
		says = append(says, fmt.Sprintf("Shown are events %d–%d of %d: choose others with --from and --to.", w.skipped+1, w.skipped+n, w.total))
	}
	if hidden := w.hidden.String(); hidden != "" {
		says = append(says, "Not shown: "+hidden+".")
	}
	switch {
	case w.damage != nil:
		says = append(says, "The trace ends early: "+w.damage.Error()+".")
	case !w.whole && len(w.events) == w.total-w.skipped:
		says = append(says, "The trace has no end: its run was broken off, or more follows than was asked for.")
	}
	return strings.Join(says, " ")
}
