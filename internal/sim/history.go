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

	outcomeKinds = iota
	pending      = Outcome(outcomeKinds)
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
	minIndex             uint64 // some client knew of this index when the call was made
	outcome              Outcome
	result               result
	index                uint64 // where it took effect; of a read, up to where the state machine was that it saw
	// atLeader: the member that answered took itself for the leader.
	atLeader bool
	done     func(*operation)
}

// history is what clients asked and heard, and what truly happened to each key. What can be told at once is held against
// each other at once; what needs the whole is left to linearizable (porcupine.go).
type history struct {
	world             *World
	clock             int64
	operations        []*operation
	effectIndexes     map[uint64]uint64 // number of a write → its index
	effectTimes       map[uint64]int64  // … and the moment of it
	refused           map[uint64]bool   // writes that were said to have no effect
	versions          map[uint32][]version
	appliedThrough    uint64 // the effects up to here are known
	acknowledgedIndex uint64 // the highest index that a client knows of
}

// version is a key's value from an index on.
type version struct {
	index uint64
	value string
}

func newHistory(w *World) *history {
	return &history{world: w, effectIndexes: map[uint64]uint64{}, effectTimes: map[uint64]int64{}, refused: map[uint64]bool{}, versions: map[uint32][]version{}}
}

// applied hears of an effect. Whoever applies an index first tells; the ghost sees to it that all others do the same.
func (h *history) applied(index uint64, c *command, after string) {
	if index <= h.appliedThrough {
		return
	}
	h.appliedThrough = index
	if h.refused[c.number] {
		h.world.fail("refused is refused", "%v %d was refused, and takes effect at %d", c.kind, c.number, index)
	}
	h.clock++
	h.effectIndexes[c.number], h.effectTimes[c.number] = index, h.clock
	h.versions[c.key] = append(h.versions[c.key], version{index, after})
}

// at is a key's value at an index.
func (h *history) valueAt(key uint32, index uint64) string {
	all := h.versions[key]
	if k := sort.Search(len(all), func(i int) bool { return all[i].index > index }); k > 0 {
		return all[k-1].value
	}
	return ""
}

var readModes = [opKinds]session.ReadMode{
	GetLog: session.ReadLog, GetIndex: session.ReadIndex, GetLease: session.ReadLease, GetLeader: session.ReadLeader, GetLocal: session.ReadLocal,
}

// begin has a client call an operation at a member. then, which may be nil, hears of its end.
func (h *history) begin(client int, m *member, c command, then func(*operation)) *operation {
	w := h.world
	w.lastCommand++
	c.number = w.lastCommand
	h.clock++
	o := &operation{
		command: c, client: client, member: m.id, called: h.clock, calledAt: w.now, minIndex: h.acknowledgedIndex, outcome: pending, done: then,
	}
	h.operations = append(h.operations, o)
	w.events.called(m, o)
	if !m.up {
		h.end(o, Refused)
		return o
	}
	ended := func(a session.Outcome) { h.finished(o, m, a) }
	if c.kind.Writes() {
		m.embedder.propose(c.number, c.encode(), ended)
	} else {
		m.embedder.read(c.number, readModes[c.kind], ended)
	}
	return o
}

// ended takes what the handle says of a call. Its contract: these errors, and no others, say that a command has not taken
// effect and will not.
func (h *history) finished(o *operation, m *member, a session.Outcome) {
	switch {
	case a.Err == nil:
		h.answered(o, m, a.Result)
	case errors.Is(a.Err, session.ErrOverloaded), errors.Is(a.Err, session.ErrDiskFull), errors.Is(a.Err, session.ErrTooLarge):
		if at, took := h.effectIndexes[o.number]; took {
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
		at, known := h.effectIndexes[o.number]
		if err != nil || r.number != o.number || !known || at != a.Index || r.before != h.valueAt(o.key, at-1) {
			w.fail("exactly once", "member %d: %v %d of key %d was answered with %+v, %v at index %d; it took effect at %d (%v) on %q",
				m.id, o.kind, o.number, o.key, r, err, a.Index, at, known, h.valueAt(o.key, at-1))
		}
		o.result = r
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
	if o.kind.Linearizable() && point < o.minIndex {
		w.fail("linearizable reads", "member %d: a stale read: the point is %d, index %d was acknowledged before", m.id, point, o.minIndex)
	}
	o.index, o.result = m.machine.last, result{before: m.machine.data[o.key]}
	if is := h.valueAt(o.key, m.machine.last); is != o.result.before {
		w.fail("reads see a prefix", "member %d: %v finds %q in key %d at index %d, where it is %q", m.id, o.kind, o.result.before, o.key, m.machine.last, is)
	}
	// Other modes may be answered in the midst of a replay, as soon as it has reached their point: they began before what
	// others have seen since.
	if m.machine.last < m.highestRead && o.kind == GetLocal {
		w.fail("local reads do not go back", "member %d: %v sees index %d after %d", m.id, o.kind, m.machine.last, m.highestRead)
	}
	m.highestRead = max(m.highestRead, m.machine.last)
	h.acknowledgedIndex = max(h.acknowledgedIndex, m.machine.last) // whatever anybody saw was committed
}

func (h *history) end(o *operation, outcome Outcome) {
	h.clock++
	o.outcome, o.returned, o.returnedAt = outcome, h.clock, h.world.now
	h.world.counts.Operations[o.kind][outcome]++
	if outcome == Answered && o.kind.Writes() {
		h.acknowledgedIndex = max(h.acknowledgedIndex, o.index)
	}
	h.world.events.returned(o)
	if o.done != nil {
		o.done(o)
	}
}
