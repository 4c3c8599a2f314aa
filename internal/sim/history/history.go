// Package history records the operations of all clients in a simulated cluster, and checks the
// replies that they get.
//
// What one reply shows is checked when it arrives: a write took effect once and at the index of its
// reply, a read saw a prefix of the log and all that was acknowledged before it. CheckLinearizable
// checks the history as a whole.
package history

import (
	"errors"
	"sort"
	"time"

	"github.com/troupe-raft/troupe/internal/session"
)

// Simulation is the world in which the operations take place.
type Simulation interface {
	Now() time.Duration
	Fail(invariant, format string, values ...any)
	// Called and Returned record the begin and the end of an operation.
	Called(*Operation)
	Returned(*Operation)
}

// Member is the member at which a client calls an operation.
type Member interface {
	ID() uint64
	Up() bool
	Leads() bool // by its own view
	Propose(number uint64, data []byte, done func(session.Outcome))
	Read(number uint64, mode session.ReadMode, done func(session.Outcome))
	Replica() *Replica
}

// Replica is the state machine of a member as its clients read it.
type Replica struct {
	// State belongs to the state machine that was opened last; nil: none was. It can be read after the
	// machine was closed, until the session of the member receives a new incarnation.
	State *State
	// HighestRead is the highest index that a read saw in this incarnation, or that the log had as
	// committed at its start.
	HighestRead uint64
}

// Outcome is what a client knows of an operation.
type Outcome uint8

// The outcomes. Jepsen calls the first three ok, fail and info.
const (
	Answered Outcome = iota // it took effect, and the client has its reply
	Refused                 // it did not and will not take effect
	// Its member stopped or the client gave up: it may take effect at any time after its call, or
	// never.
	Unknown
	Pending

	NumOutcomes = iota - 1 // of operations that are over
)

var outcomeNames = [...]string{"answered", "refused", "unknown", "pending"}

func (o Outcome) String() string { return outcomeNames[o] }

// Operation is one call of a client.
type Operation struct {
	Command
	ClientID int
	MemberID uint64
	// Called and Returned are read from a clock that counts what clients see, so that no two are
	// equal. Returned is 0 while the operation is pending.
	Called, Returned     int64
	CalledAt, ReturnedAt time.Duration
	Outcome              Outcome
	Reply                Reply
	// Index is where a write took effect, and up to where the state machine was that a read saw.
	Index uint64
	// AtLeader: the member that answered had the role of the leader.
	AtLeader bool

	minIndex uint64 // some client knew of this index at the call
	done     func(*Operation)
}

// History is all operations of all clients, and the effects that the log gave them.
type History struct {
	Operations []*Operation
	// LastNumber is the number of the last command or read.
	LastNumber uint64
	// SessionsAreEvicted: the session table is so small that the outcome of a command may be unknown.
	SessionsAreEvicted bool
	Evicted            int // operations whose outcome is unknown for that reason
	// AcknowledgedIndex is the highest index that some client knows to be committed.
	AcknowledgedIndex uint64

	sim           Simulation
	clock         int64
	effectIndexes map[uint64]uint64 // number of a write → its index
	effectTimes   map[uint64]int64  // number of a write → clock at its effect
	refused       map[uint64]bool   // writes whose clients know that they have no effect
	versions      map[uint32][]version
	through       uint64 // the effects up to this index are known
}

// version is the value of a key from an index on.
type version struct {
	index uint64
	value string
}

// New returns an empty history.
func New(sim Simulation) *History {
	return &History{sim: sim, effectIndexes: map[uint64]uint64{}, effectTimes: map[uint64]int64{}, refused: map[uint64]bool{}, versions: map[uint32][]version{}}
}

// Applied records the effect of a command. The first member to apply an index calls it with effect;
// that all others apply the same is for the checker to see.
func (h *History) Applied(index uint64, c *Command, after string) {
	if index <= h.through {
		return
	}
	h.through = index
	if h.refused[c.Number] {
		h.sim.Fail("refused has no effect", "%v %d was refused, and takes effect at %d", c.Kind, c.Number, index)
	}
	h.clock++
	h.effectIndexes[c.Number], h.effectTimes[c.Number] = index, h.clock
	h.versions[c.Key] = append(h.versions[c.Key], version{index, after})
}

// ValueAt returns the value of a key at an index.
func (h *History) ValueAt(key uint32, index uint64) string {
	all := h.versions[key]
	if k := sort.Search(len(all), func(i int) bool { return all[i].index > index }); k > 0 {
		return all[k-1].value
	}
	return ""
}

var readModes = [NumOps]session.ReadMode{
	GetLog: session.ReadLog, GetIndex: session.ReadIndex, GetLease: session.ReadLease, GetLeader: session.ReadLeader, GetLocal: session.ReadLocal,
}

// Begin calls an operation at a member for a client. done, which may be nil, is called at its end.
func (h *History) Begin(clientID int, m Member, c Command, done func(*Operation)) *Operation {
	h.LastNumber++
	c.Number = h.LastNumber
	h.clock++
	o := &Operation{
		Command: c, ClientID: clientID, MemberID: m.ID(), Called: h.clock, CalledAt: h.sim.Now(), minIndex: h.AcknowledgedIndex, Outcome: Pending, done: done,
	}
	h.Operations = append(h.Operations, o)
	h.sim.Called(o)
	if !m.Up() {
		h.end(o, Refused)
		return o
	}
	finished := func(outcome session.Outcome) { h.finished(o, m, outcome) }
	if c.Kind.Writes() {
		m.Propose(c.Number, c.Encode(), finished)
	} else {
		m.Read(c.Number, readModes[c.Kind], finished)
	}
	return o
}

// finished takes the outcome of a call from the session. Four errors say that a command took no
// effect and never will; by the contract of the session no other error says so.
func (h *History) finished(o *Operation, m Member, outcome session.Outcome) {
	switch err := outcome.Err; {
	case err == nil:
		h.answered(o, m, outcome.Result)
	case errors.Is(err, session.ErrOverloaded), errors.Is(err, session.ErrDiskFull), errors.Is(err, session.ErrTooLarge),
		errors.Is(err, session.ErrNotProposed):
		if at, took := h.effectIndexes[o.Number]; took {
			h.sim.Fail("refused has no effect", "member %d: %v %d was refused (%v), and took effect at %d", m.ID(), o.Kind, o.Number, err, at)
		}
		h.refused[o.Number] = true
		h.end(o, Refused)
	case errors.Is(err, session.ErrOutcomeUnknown):
		if !h.SessionsAreEvicted {
			h.sim.Fail("exactly once", "member %d: %v %d: %v, though no member registers so many sessions", m.ID(), o.Kind, o.Number, err)
		}
		h.Evicted++
		h.end(o, Unknown)
	default:
		h.end(o, Unknown)
	}
}

// answered takes the result of a call and checks it against the effects.
func (h *History) answered(o *Operation, m Member, result session.Result) {
	o.Index, o.AtLeader = result.Index, m.Leads()
	if o.Kind.Writes() {
		r, err := decodeReply(result.Value)
		at, known := h.effectIndexes[o.Number]
		if err != nil || r.Number != o.Number || !known || at != result.Index || r.Before != h.ValueAt(o.Key, at-1) {
			h.sim.Fail("exactly once", "member %d: %v %d of key %d was answered with %+v, %v at index %d; it took effect at %d (%v) on %q",
				m.ID(), o.Kind, o.Number, o.Key, r, err, result.Index, at, known, h.ValueAt(o.Key, at-1))
		}
		o.Reply = r
	} else {
		h.read(o, m, result.Index)
	}
	h.end(o, Answered)
}

// read reads the state machine of the member, which must contain all that the mode of the read
// guarantees.
func (h *History) read(o *Operation, m Member, point uint64) {
	r := m.Replica()
	is := r.State
	if is == nil || is.Last < point {
		h.sim.Fail("read after apply", "member %d: %v of key %d is answered at index %d, and its state machine is not there", m.ID(), o.Kind, o.Key, point)
		return
	}
	if o.Kind.Linearizable() && point < o.minIndex {
		h.sim.Fail("linearizable reads", "member %d: a stale read: the point is %d, index %d was acknowledged before", m.ID(), point, o.minIndex)
	}
	o.Index, o.Reply = is.Last, Reply{Before: is.Data[o.Key]}
	if want := h.ValueAt(o.Key, is.Last); want != o.Reply.Before {
		h.sim.Fail("reads see a prefix", "member %d: %v finds %q in key %d at index %d, where it is %q", m.ID(), o.Kind, o.Reply.Before, o.Key, is.Last, want)
	}
	// Reads in other modes may be answered during a replay, as soon as it has reached their point:
	// they began before the operations that saw more.
	if is.Last < r.HighestRead && o.Kind == GetLocal {
		h.sim.Fail("local reads monotonic", "member %d: %v sees index %d after %d", m.ID(), o.Kind, is.Last, r.HighestRead)
	}
	r.HighestRead = max(r.HighestRead, is.Last)
	h.AcknowledgedIndex = max(h.AcknowledgedIndex, is.Last) // what a client saw was committed
}

func (h *History) end(o *Operation, outcome Outcome) {
	h.clock++
	o.Outcome, o.Returned, o.ReturnedAt = outcome, h.clock, h.sim.Now()
	if outcome == Answered && o.Kind.Writes() {
		h.AcknowledgedIndex = max(h.AcknowledgedIndex, o.Index)
	}
	h.sim.Returned(o)
	if o.done != nil {
		o.done(o)
	}
}

// Values returns the values that a key had, oldest first.
func (h *History) Values(key uint32) []string {
	values := make([]string, len(h.versions[key]))
	for i, v := range h.versions[key] {
		values[i] = v.value
	}
	return values
}

// NewestKeys returns at most n keys that clients used last, newest first.
func (h *History) NewestKeys(n int) (keys []uint32) {
	seen := map[uint32]bool{}
	for i := len(h.Operations) - 1; i >= 0 && len(keys) < n; i-- {
		if key := h.Operations[i].Key; !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	return keys
}

// Contents returns the store that the effects make in the order of the log.
func (h *History) Contents() Contents {
	c := Contents{}
	for key, all := range h.versions { // order does not matter: each key is set once
		c.Set(key, all[len(all)-1].value)
	}
	return c
}
