// Package explain shows the trace of a simulated run to people: as text for a terminal, and as one HTML page.
package explain

import (
	"slices"
	"sort"

	"github.com/troupe-raft/troupe/internal/sim/trace"
)

// Cluster is what the members are, as far as a trace has told. It follows events one by one.
type Cluster struct {
	Members []Member // of id i at i-1
	cut     map[[2]uint64]bool
}

// Member is one member as of some event.
type Member struct {
	ID         uint64
	Up         bool
	DownReason string // it is down
	Run        uint64
	State      trace.State
	Applied    uint64
	// Its log has the entries 1 … Last; those from a run's First on, up to the next run, are of its Term.
	Last uint64
	Runs []trace.Run
}

// NewCluster is a cluster of members 1 … n of which nothing is known yet.
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

// Clone is a copy that lives on its own.
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

// Apply follows one event.
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
		if m.Up { // what has stopped by itself is only tidied up
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

// Cut tells whether nothing passes from one member to another.
func (c *Cluster) Cut(from, to uint64) bool { return c.cut[[2]uint64{from, to}] }

// change follows a change of the log. Entries that the trace never told of are of term 0.
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

// TermAt is the term of an entry of the log; 0 where there is none.
func (m *Member) TermAt(index uint64) uint64 {
	after := sort.Search(len(m.Runs), func(i int) bool { return m.Runs[i].First > index })
	if after == 0 || index > m.Last {
		return 0
	}
	return m.Runs[after-1].Term
}
