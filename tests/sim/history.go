package sim

import (
	"errors"
	"sort"
	"time"

	"github.com/troupe-raft/troupe/internal/session"
)

// Outcome is what a client knows of an operation.
type Outcome uint8

const (
	Answered Outcome = iota // it took effect, and this is what it saw
	Refused                 // it did not and will not take effect
	Unknown                 // its member died or it was given up: it may take effect at any time from its call on, or never

	outcomes = iota
	pending  = Outcome(outcomes)
)

var outcomeNames = [...]string{"answered", "refused", "unknown", "pending"}

func (o Outcome) String() string { return outcomeNames[o] }

// operation is one call of a client.
type operation struct {
	command
	client int
	member uint64
	// Moments count what clients see happen, so that no two are the same. returned is 0 while it is pending.
	called, returned     int64
	calledAt, returnedAt time.Duration
	floor                uint64 // some client knew of this index when the call was made
	outcome              Outcome
	saw                  result
	index                uint64 // where it took effect; of a read, up to where the state machine was that it saw
	// atLeader: the member that answered took itself for the leader.
	atLeader bool
	then     func(*operation)
}

// history is what clients asked and heard, and what truly happened to each key. What can be told at once is held against
// each other at once; what needs the whole is left to linearizable (porcupine.go).
type history struct {
	world      *World
	moments    int64
	operations []*operation
	effects    map[uint64]uint64 // number of a write → its index
	happened   map[uint64]int64  // … and the moment of it
	refused    map[uint64]bool   // writes that were said to have no effect
	versions   map[uint32][]version
	through    uint64 // the effects up to here are known
	acked      uint64 // the highest index that a client knows of
}

// version is a key's value from an index on.
type version struct {
	index uint64
	value string
}

func newHistory(w *World) *history {
	return &history{world: w, effects: map[uint64]uint64{}, happened: map[uint64]int64{}, refused: map[uint64]bool{}, versions: map[uint32][]version{}}
}

// applied hears of an effect. Whoever applies an index first tells; the ghost sees to it that all others do the same.
func (h *history) applied(index uint64, c *command, after string) {
	if index <= h.through {
		return
	}
	h.through = index
	if h.refused[c.number] {
		h.world.fail("refused is refused", "%v %d was refused, and takes effect at %d", c.kind, c.number, index)
	}
	h.moments++
	h.effects[c.number], h.happened[c.number] = index, h.moments
	h.versions[c.key] = append(h.versions[c.key], version{index, after})
}

// at is a key's value at an index.
func (h *history) at(key uint32, index uint64) string {
	all := h.versions[key]
	if k := sort.Search(len(all), func(i int) bool { return all[i].index > index }); k > 0 {
		return all[k-1].value
	}
	return ""
}

var modes = [opKinds]session.ReadMode{
	GetLog: session.ReadLog, GetIndex: session.ReadIndex, GetLease: session.ReadLease, GetLeader: session.ReadLeader, GetLocal: session.ReadLocal,
}

// begin has a client call an operation at a member. then, which may be nil, hears of its end.
func (h *history) begin(client int, m *member, c command, then func(*operation)) *operation {
	w := h.world
	w.commands++
	c.number = w.commands
	h.moments++
	o := &operation{
		command: c, client: client, member: m.id, called: h.moments, calledAt: w.now, floor: h.acked, outcome: pending, then: then,
	}
	h.operations = append(h.operations, o)
	w.chronicle.called(m, o)
	if !m.up {
		h.end(o, Refused)
		return o
	}
	ended := func(a session.Outcome) { h.ended(o, m, a) }
	if c.kind.Writes() {
		m.program.propose(c.number, c.encode(), ended)
	} else {
		m.program.read(c.number, modes[c.kind], ended)
	}
	return o
}

// ended takes what the handle says of a call. Its contract: these errors, and no others, say that a command has not taken
// effect and will not.
func (h *history) ended(o *operation, m *member, a session.Outcome) {
	switch {
	case a.Err == nil:
		h.answered(o, m, a.Result)
	case errors.Is(a.Err, session.ErrOverloaded), errors.Is(a.Err, session.ErrDiskFull), errors.Is(a.Err, session.ErrTooLarge):
		if at, took := h.effects[o.number]; took {
			h.world.fail("refused is refused", "member %d: %v %d was refused (%v), and took effect at %d", m.id, o.kind, o.number, a.Err, at)
		}
		h.refused[o.number] = true
		h.end(o, Refused)
	case errors.Is(a.Err, session.ErrOutcomeUnknown):
		h.world.fail("exactly once", "member %d: %v %d: %v, though no member opens so many origins", m.id, o.kind, o.number, a.Err)
		h.end(o, Unknown)
	default:
		h.end(o, Unknown)
	}
}

// answered takes an answer and holds it against what truly happened.
func (h *history) answered(o *operation, m *member, a session.Result) {
	w := h.world
	o.index, o.atLeader = a.Index, m.view.Role == "leader"
	if o.kind.Writes() {
		r, err := decodeResult(a.Value)
		at, known := h.effects[o.number]
		if err != nil || r.number != o.number || !known || at != a.Index || r.before != h.at(o.key, at-1) {
			w.fail("exactly once", "member %d: %v %d of key %d was answered with %+v, %v at index %d; it took effect at %d (%v) on %q",
				m.id, o.kind, o.number, o.key, r, err, a.Index, at, known, h.at(o.key, at-1))
		}
		o.saw = r
	} else {
		h.read(o, m, a.Index)
	}
	h.end(o, Answered)
}

// read reads the member's state machine, which contains what the read's mode promises.
func (h *history) read(o *operation, m *member, point uint64) {
	w := h.world
	if m.machine == nil || m.machine.last < point {
		w.fail("read after apply", "member %d: %v of key %d is answered at index %d, and its state machine is not there", m.id, o.kind, o.key, point)
		return
	}
	if o.kind.Linearizable() && point < o.floor {
		w.fail("linearizable reads", "member %d: a stale read: the point is %d, index %d was acknowledged before", m.id, point, o.floor)
	}
	o.index, o.saw = m.machine.last, result{before: m.machine.data[o.key]}
	if is := h.at(o.key, m.machine.last); is != o.saw.before {
		w.fail("reads see a prefix", "member %d: %v finds %q in key %d at index %d, where it is %q", m.id, o.kind, o.saw.before, o.key, m.machine.last, is)
	}
	// Other modes may be answered in the midst of a replay, as soon as it has reached their point: they began before what
	// others have seen since.
	if m.machine.last < m.seen && o.kind == GetLocal {
		w.fail("local reads do not go back", "member %d: %v sees index %d after %d", m.id, o.kind, m.machine.last, m.seen)
	}
	m.seen = max(m.seen, m.machine.last)
	h.acked = max(h.acked, m.machine.last) // whatever anybody saw was committed
}

func (h *history) end(o *operation, outcome Outcome) {
	h.moments++
	o.outcome, o.returned, o.returnedAt = outcome, h.moments, h.world.now
	h.world.counts.Operations[o.kind][outcome]++
	if outcome == Answered && o.kind.Writes() {
		h.acked = max(h.acked, o.index)
	}
	h.world.chronicle.returned(o)
	if o.then != nil {
		o.then(o)
	}
}
