package explain

import (
	"fmt"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/trace"
)

// page is the data of the HTML page; page_model.js reads it. Names are short because there are
// thousands of each.
type page struct {
	Title   string       `json:"title"`
	Replay  string       `json:"replay"`
	Window  string       `json:"window"` // which part of the trace the page has
	Start   []pageMember `json:"start"`  // the members before the first moment
	Cut     [][2]uint64  `json:"cut"`
	Moments []moment     `json:"moments"`
	Arrows  []arrow      `json:"arrows"`
}

type pageMember struct {
	Up         bool        `json:"up"`
	DownReason string      `json:"why,omitempty"`
	State      trace.State `json:"state"`
	Applied    uint64      `json:"applied"`
	Last       uint64      `json:"last"`
	Runs       []trace.Run `json:"runs"`
}

// moment is one step of the run, or a violation in it. The page moves from moment to moment.
type moment struct {
	Step  int           `json:"s"`
	At    time.Duration `json:"t"`
	Items []item        `json:"i"`
}

type item struct {
	Kind   trace.Kind    `json:"k"`
	Member uint64        `json:"m,omitempty"`
	Peer   uint64        `json:"p,omitempty"`
	ID     uint64        `json:"o,omitempty"`
	Actor  string        `json:"a,omitempty"`
	Name   string        `json:"n,omitempty"`
	Detail string        `json:"d,omitempty"`
	Index  uint64        `json:"x,omitempty"`
	Until  time.Duration `json:"u,omitempty"`
	State  *trace.State  `json:"st,omitempty"`
	Log    *trace.Log    `json:"lg,omitempty"`
	Arrow  int           `json:"r,omitempty"` // 1 + its index among the arrows
}

// arrow is a message, or the second copy of one.
type arrow struct {
	From      uint64 `json:"f"`
	To        uint64 `json:"t"`
	Name      string `json:"n"`
	Label     string `json:"l"`
	Detail    string `json:"d"`
	Sent      int    `json:"s"` // the moment; -1: before the first
	Ends      int    `json:"e"` // the moment at which it arrives or is lost; -1: after the last
	Lost      string `json:"x,omitempty"`
	Duplicate bool   `json:"b,omitempty"`
}

func newPage(h trace.Header, w *eventWindow) *page {
	p := &page{Title: title(h), Replay: replay(h), Window: w.String(), Start: []pageMember{}, Cut: [][2]uint64{}, Moments: []moment{}, Arrows: []arrow{}}
	for i := range w.base.Members {
		p.Start = append(p.Start, startOf(&w.base.Members[i]))
	}
	for from := range w.base.Members {
		for to := range w.base.Members {
			if w.base.Cut(uint64(from+1), uint64(to+1)) {
				p.Cut = append(p.Cut, [2]uint64{uint64(from + 1), uint64(to + 1)})
			}
		}
	}
	flights := map[uint64]int{} // message → its arrow in transit
	for _, e := range w.events {
		if p.begins(e) {
			p.Moments = append(p.Moments, moment{Step: e.Step, At: e.At})
		}
		p.add(e, flights)
	}
	return p
}

// begins reports whether an event is the first of a moment. A violation is a moment of its own,
// whatever else its step did, so that the page shows its row.
func (p *page) begins(e *trace.Event) bool {
	n := len(p.Moments)
	if n == 0 || p.Moments[n-1].Step != e.Step || e.Kind == trace.Violated {
		return true
	}
	items := p.Moments[n-1].Items
	return items[len(items)-1].Kind == trace.Violated
}

func startOf(m *Member) pageMember {
	return pageMember{Up: m.Up, DownReason: m.DownReason, State: m.State, Applied: m.Applied, Last: m.Last, Runs: append([]trace.Run{}, m.Runs...)}
}

func (p *page) add(e *trace.Event, flights map[uint64]int) {
	now := len(p.Moments) - 1
	is := item{
		Kind: e.Kind, Member: e.Member, Peer: e.Peer, ID: e.ID, Actor: e.Actor, Name: e.Name, Detail: e.Detail, Index: e.Index,
		Until: e.Until, State: e.State, Log: e.Log,
	}
	if isMessage(e) {
		is.Arrow = 1 + p.arrow(e, now, flights)
		is.Name, is.Detail, is.ID = "", "", 0 // the arrow has them
	}
	p.Moments[now].Items = append(p.Moments[now].Items, is)
}

// arrow updates the arrow of a message, and returns its index.
func (p *page) arrow(e *trace.Event, now int, flights map[uint64]int) int {
	place, known := flights[e.ID]
	switch {
	case !known || e.Kind == trace.Sent:
		sent := -1
		if e.Kind == trace.Sent {
			sent = now
		}
		place = p.addArrow(arrow{From: e.Member, To: e.Peer, Name: e.Name, Label: label(e), Detail: e.Detail, Sent: sent, Ends: -1})
		flights[e.ID] = place
	case e.Kind == trace.Duplicated || p.Arrows[place].Ends >= 0:
		// A copy: of a message in transit, whose next arrival ends the arrow, or of one that has arrived.
		if p.Arrows[place].Ends >= 0 {
			again := p.Arrows[place]
			again.Ends, again.Lost, again.Duplicate = -1, "", true
			place = p.addArrow(again)
			flights[e.ID] = place
		}
	}
	a := &p.Arrows[place]
	switch e.Kind {
	case trace.Arrived:
		a.Ends = now
	case trace.Lost:
		a.Ends, a.Lost = now, e.Detail
		if a.Sent < 0 {
			a.Detail = ""
		}
	}
	return place
}

func (p *page) addArrow(a arrow) int {
	p.Arrows = append(p.Arrows, a)
	return len(p.Arrows) - 1
}

// replay returns the command that repeats the run.
func replay(h trace.Header) string {
	if h.Scenario != "" {
		return fmt.Sprintf("go run ./cmd/troupe-sim --seeds %d --scenario %s", h.Seed, h.Scenario)
	}
	words := fmt.Sprintf("go run ./cmd/troupe-sim --seeds %d --profile %s --nodes %d --steps %d", h.Seed, h.Profile, h.Nodes, h.Steps)
	if h.Clients > 0 {
		words += fmt.Sprintf(" --clients %d", h.Clients)
	}
	if len(h.Without) > 0 {
		words += " --without " + strings.Join(h.Without, ",")
	}
	if h.FaultLimit > 0 {
		words += fmt.Sprintf(" --fault-limit %d", h.FaultLimit)
	}
	return words
}
