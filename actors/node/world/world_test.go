package world

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// world is a cluster in virtual time, out of one seed.
type world struct {
	seed      uint64
	size      int
	profile   profile
	faults    faults
	random    *rand.Rand
	now       time.Duration
	schedule  schedule
	planned   uint64
	steps     int
	current   *mailbox // whose actor works
	bootstrap *messages.Configuration
	members   []*member
	network   network
	ghost     *ghost
	trace     trace
	counts    counts
	commands  uint64
	calm      bool   // no more faults, no more requests
	failure   string // the first
}

// profile is what kind of world it is.
type profile struct {
	name     string
	latency  time.Duration // of the network, at most (but for what is late)
	reorders bool          // messages overtake each other; else only those of other lanes
	silent   bool          // no link tells of broken connections
	faults   faults
}

// faults are how often things go wrong: the share of messages, and the mean times between events of a kind.
type faults struct {
	loss, double, late float64
	every              time.Duration
}

var profiles = []profile{
	{name: "link", latency: 2 * time.Millisecond, faults: faults{loss: 0.002, late: 0.01, every: 300 * time.Millisecond}},
	{name: "wild", latency: 20 * time.Millisecond, reorders: true, faults: faults{loss: 0.05, double: 0.05, late: 0.05, every: 300 * time.Millisecond}},
	{name: "silent", latency: 5 * time.Millisecond, silent: true, faults: faults{loss: 0.02, late: 0.02, every: 300 * time.Millisecond}},
	{name: "far", latency: 300 * time.Millisecond, faults: faults{loss: 0.002, late: 0.01, every: 2 * time.Second}},
}

// counts are what happened.
type counts struct {
	messages, lost, doubled             int
	kills, actorCrashes, cuts, others   int
	elections, writes, reads, committed int
}

func (p *profile) workTime(b *mailbox) time.Duration {
	w := b.member.world
	switch {
	case b.name != "log":
		return w.between(time.Microsecond, 60*time.Microsecond)
	case b.member.slowDisk():
		return w.between(20*time.Millisecond, 700*time.Millisecond)
	}
	return w.between(50*time.Microsecond, time.Millisecond)
}

// newWorld is a world of misfortune; size and kind follow from the seed.
func newWorld(seed uint64) *world {
	w := newEmpty(seed, profiles[seed%uint64(len(profiles))])
	w.populate([]int{3, 3, 5, 3, 4, 1, 3, 5}[w.random.IntN(8)])
	w.after(w.between(0, w.faults.every), w.misfortune)
	w.after(0, w.request)
	return w
}

// newScripted is a world in which only happens what a script says.
func newScripted(seed uint64, size int) *world {
	w := newEmpty(seed, profile{name: "scripted", latency: 2 * time.Millisecond})
	w.populate(size)
	return w
}

func newEmpty(seed uint64, p profile) *world {
	w := &world{
		seed: seed, random: rand.New(rand.NewPCG(seed, 0x7472_6f75_7065)), profile: p, faults: p.faults,
		bootstrap: &messages.Configuration{ClusterId: 1},
		network:   network{cut: map[pair]bool{}, up: map[pair]bool{}, news: map[pair]time.Duration{}, last: map[lane]time.Duration{}},
	}
	return w
}

func (w *world) populate(size int) {
	w.size = size
	w.ghost = newGhost(w)
	for id := uint64(1); id <= uint64(size); id++ {
		w.bootstrap.Members = append(w.bootstrap.Members, &messages.Member{Id: id, Address: address(id)})
		m := &member{world: w, id: id, disk: vfs.NewMem()}
		if id%2 == 1 {
			m.store = &store{}
		}
		w.members = append(w.members, m)
		w.after(w.between(0, 100*time.Millisecond), m.boot)
	}
}

func (w *world) fail(format string, values ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf(format, values...)
	}
}

// run lets things happen for so many steps, then ends all misfortune and waits until everything is well.
func (w *world) run(steps int) {
	for w.failure == "" && w.steps < steps {
		w.step()
	}
	w.heal()
	until := w.now + 60*time.Second
	for w.failure == "" && !w.well() {
		if w.now > until {
			w.fail("after a minute of calm: %s", w.state())
		}
		w.step()
	}
	w.counts.committed = len(w.ghost.committed)
	w.end()
}

func (w *world) end() {
	for _, m := range w.members {
		if m.up {
			m.kill(vfs.LoseAll)
		}
	}
}

// request keeps the members' programs busy.
func (w *world) request() {
	if w.calm {
		return
	}
	if m := w.anyone(); m != nil && m.up {
		for range w.random.IntN(4) {
			w.commands++
			m.handle.write(w.commands)
		}
		if w.chance(0.5) {
			m.handle.read()
		}
	}
	w.after(w.between(0, 60*time.Millisecond), w.request)
}

func (w *world) anyone() *member { return w.members[w.random.IntN(len(w.members))] }

// leader is a member that leads and is up; nil for none.
func (w *world) leader() *member {
	for _, m := range w.members {
		if m.up && m.view.Role == "leader" {
			return m
		}
	}
	return nil
}

// well tells whether there is one leader, all logs are equal and applied, and nobody waits.
func (w *world) well() bool {
	l := w.leader()
	if l == nil {
		return false
	}
	for _, m := range w.members {
		v := m.view
		if !m.up || v.Leader != l.id || v.Term != l.view.Term || v.Role == "leader" && m != l {
			return false
		}
		if v.LastIndex != l.view.LastIndex || v.LastTerm != l.view.LastTerm || v.Commit != v.LastIndex || m.applied != v.LastIndex {
			return false
		}
		if len(m.handle.waiting) > 0 || len(m.handle.reading) > 0 || !m.handle.served {
			return false
		}
	}
	return true
}

func (w *world) state() string {
	var b strings.Builder
	for _, m := range w.members {
		v := m.view
		fmt.Fprintf(&b, "\n  %d up=%v %s term %d leader %d last (%d, %d) durable %d commit %d applied %d", m.id, m.up, v.Role, v.Term, v.Leader,
			v.LastIndex, v.LastTerm, v.Durable, v.Commit, m.applied)
		if m.handle != nil {
			fmt.Fprintf(&b, "; %d writes and %d reads wait, origin %d, served %v", len(m.handle.waiting), len(m.handle.reading), m.handle.origin, m.handle.served)
		}
	}
	return b.String()
}

// trace is the last that happened, and a hash over everything.
type trace struct {
	lines []line
	next  int
	hash  uint64
}

type line struct {
	at      time.Duration
	member  uint64
	actor   string
	message any
}

const traceLines = 120

func (t *trace) note(m *member, name string, message any) {
	l := line{m.world.now, m.id, name, message}
	if len(t.lines) < traceLines {
		t.lines = append(t.lines, l)
	} else {
		t.lines[t.next%traceLines] = l
	}
	t.next++
	h := mix(t.hash, uint64(l.at), l.member, uint64(len(name)))
	if p, ok := message.(proto.Message); ok {
		h = mix(h, uint64(proto.Size(p)))
	}
	t.hash = h
}

func (t *trace) String() string {
	var b strings.Builder
	for i := range t.lines {
		l := t.lines[(t.next+i)%len(t.lines)]
		fmt.Fprintf(&b, "%12v  %d/%-10s %s\n", l.at, l.member, l.actor, describe(l.message))
	}
	return b.String()
}

func describe(message any) string {
	s := fmt.Sprintf("%T %v", message, message)
	s = strings.TrimPrefix(s, "*messages.")
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}
