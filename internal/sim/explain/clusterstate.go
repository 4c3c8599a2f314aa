// Package explain shows the trace of a simulated run: as text for a terminal, and as an HTML page.
package explain

import (
	"slices"
	"sort"

	"github.com/troupe-raft/troupe/internal/sim/trace"
)

// Cluster is the state of the members after some events of a trace.
type Cluster struct {
	Members []Member // member id is at id-1
	cut     map[[2]uint64]bool
}

// Member is the state of one member.
type Member struct {
	ID         uint64
	Up         bool
	DownReason string // why it is down
	Run        uint64
	State      trace.State
	Applied    uint64
	// The log has the entries 1 … Last. Those from a run's First on, up to the next run, have its
	// Term.
	Last uint64
	Runs []trace.Run
}

// NewCluster returns a cluster of members 1 … n without any state.
func NewCluster(n int) *Cluster {
	c := &Cluster{cut: map[[2]uint64]bool{}}
	c.grow(uint64(n))
	return c
}

func (c *Cluster) grow(id uint64) {
	for uint64(len(c.Members)) < id {
		c.Members = append(c.Members, Member{ID: uint64(len(c.Members)) + 1})
	}
}

// Clone returns an independent copy.
func (c *Cluster) Clone() *Cluster {
	clone := NewCluster(0)
	for _, m := range c.Members {
		m.Runs = slices.Clone(m.Runs)
		clone.Members = append(clone.Members, m)
	}
	for pair := range c.cut {
		clone.cut[pair] = true
	}
	return clone
}

// Apply applies an event.
func (c *Cluster) Apply(e *trace.Event) {
	c.grow(max(e.Member, e.Peer))
	if e.Member == 0 {
		return
	}
	m := &c.Members[e.Member-1]
	switch e.Kind {
	case trace.Start:
		m.Up, m.DownReason, m.Run, m.State, m.Applied = true, "", e.Index, trace.State{}, 0
	case trace.Kill:
		if m.Up { // Kill after Stop only cleans up
			m.DownReason = "killed"
		}
		m.Up, m.State.Role, m.Applied = false, "", 0
	case trace.Stop:
		m.Up, m.DownReason, m.State.Role, m.Applied = false, "stopped", "", 0
	case trace.StateChanged:
		m.State = *e.State
	case trace.LogChanged:
		m.change(e.Log)
	case trace.Applied:
		m.Applied = e.Index
	case trace.CutOff:
		c.cut[[2]uint64{e.Member, e.Peer}] = true
	case trace.Healed:
		delete(c.cut, [2]uint64{e.Member, e.Peer})
	}
}

// Cut reports whether the direction from one member to another is cut.
func (c *Cluster) Cut(from, to uint64) bool { return c.cut[[2]uint64{from, to}] }

// change applies a change of the log. Entries that the trace does not have are of term 0.
func (m *Member) change(l *trace.Log) {
	kept := sort.Search(len(m.Runs), func(i int) bool { return m.Runs[i].First >= l.From })
	m.Runs = m.Runs[:kept]
	if l.From > m.Last+1 {
		m.Runs = append(m.Runs, trace.Run{First: m.Last + 1})
	}
	for _, r := range l.Runs {
		if n := len(m.Runs); n == 0 || m.Runs[n-1].Term != r.Term {
			m.Runs = append(m.Runs, r)
		}
	}
	m.Last = l.Last
}

// TermAt returns the term of an entry; 0: there is none.
func (m *Member) TermAt(index uint64) uint64 {
	after := sort.Search(len(m.Runs), func(i int) bool { return m.Runs[i].First > index })
	if after == 0 || index > m.Last {
		return 0
	}
	return m.Runs[after-1].Term
}
