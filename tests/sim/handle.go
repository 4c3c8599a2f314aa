package sim

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// handle is what a member's program holds: it proposes and reads for the clients, says again what is not answered, and
// passes the answers on.
type handle struct {
	member *member
	life   int

	nonce    []byte
	origin   uint64
	sequence uint64
	waiting  []*waiting // by sequence
	reading  []*reading
	lastRead uint64
	leader   uint64
	served   bool
	// incarnation of the actors: until the replay of a new one is done nothing is read.
	incarnation uint64
}

// answer is what came of a proposal or a read.
type answer struct {
	index uint64
	value []byte
	err   error
}

// errDied: the process ended before it knew.
var errDied = errors.New("the member died")

type waiting struct {
	sequence uint64
	encode   func(origin, sequence, lowest uint64) []byte
	entry    []byte // nil until the origin is open
	done     func(answer)
}

type reading struct {
	id    uint64
	mode  messages.ReadMode
	point uint64 // 0: not known yet
	done  func(answer)
}

func newHandle(m *member) *handle {
	return &handle{member: m, life: m.life, sequence: 1, lastRead: m.world.random.Uint64()}
}

func (h *handle) live() {
	h.openOrigin()
	h.member.after(300*time.Millisecond, h.again)
}

func (h *handle) openOrigin() {
	h.origin, h.nonce = 0, binary.LittleEndian.AppendUint64(nil, h.member.world.random.Uint64())
}

// again says once more whatever is not answered.
func (h *handle) again() {
	h.sayAll()
	h.member.after(300*time.Millisecond, h.again)
}

func (h *handle) sayAll() {
	if h.leader == 0 {
		return
	}
	for _, r := range h.reading {
		if r.mode != messages.ReadMode_READ_MODE_LOCAL && r.point == 0 {
			h.member.post(actors.NodePath, &messages.AskRead{Id: r.id, Mode: r.mode})
		}
	}
	if h.origin == 0 {
		h.member.post(actors.NodePath, &messages.Propose{Data: raft.EncodeOpenOrigin(h.nonce, h.member.id)})
		return
	}
	for _, w := range h.waiting {
		h.say(w)
	}
}

func (h *handle) say(w *waiting) {
	if w.entry == nil {
		w.entry = w.encode(h.origin, w.sequence, h.waiting[0].sequence)
	}
	h.member.post(actors.NodePath, &messages.Propose{Data: w.entry})
}

// propose has a command applied.
func (h *handle) propose(data []byte, done func(answer)) {
	h.enqueue(func(origin, sequence, lowest uint64) []byte {
		return raft.EncodeCommand(origin, sequence, lowest, data)
	}, done)
}

func (h *handle) enqueue(encode func(origin, sequence, lowest uint64) []byte, done func(answer)) {
	w := &waiting{sequence: h.sequence, encode: encode, done: done}
	h.sequence++
	h.waiting = append(h.waiting, w)
	if h.origin != 0 {
		h.say(w)
	}
}

// read asks for a read point, and answers once the state machine contains it.
func (h *handle) read(mode messages.ReadMode, done func(answer)) {
	if mode == messages.ReadMode_READ_MODE_LOG {
		h.enqueue(raft.EncodeBarrier, done)
		return
	}
	h.lastRead++
	r := &reading{id: h.lastRead, mode: mode, done: done}
	h.reading = append(h.reading, r)
	if mode == messages.ReadMode_READ_MODE_LOCAL {
		r.point = 1
		h.member.after(0, h.release)
		return
	}
	h.member.post(actors.NodePath, &messages.AskRead{Id: r.id, Mode: mode})
}

// SendUserMessage hears the actors of its node.
func (h *handle) SendUserMessage(_ *actor.PID, message any) {
	if h.life != h.member.life {
		return
	}
	_, message, _ = actor.UnwrapEnvelope(message)
	for _, ear := range h.member.ears {
		ear(message.(proto.Message))
	}
	switch m := message.(type) {
	case *messages.LeaderChanged:
		h.leader = m.Leader
		if m.Incarnation > h.incarnation {
			h.incarnation, h.served = m.Incarnation, false
		}
		if m.Leader != 0 {
			h.member.after(0, h.sayAll)
		}
	case *messages.OriginOpened:
		if h.origin == 0 && string(m.Nonce) == string(h.nonce) {
			h.origin = m.Origin
			h.member.after(0, h.sayAll)
		}
	case *messages.Results:
		h.results(m)
		h.release()
	case *messages.ReadPoint:
		h.readPoint(m)
	case *messages.Serving:
		h.served = h.served || m.Incarnation == h.incarnation
		h.release()
	}
}

func (h *handle) SendSystemMessage(*actor.PID, any) {}
func (h *handle) Stop(*actor.PID)                   {}

func (h *handle) results(m *messages.Results) {
	if m.Origin != h.origin {
		return
	}
	for i, sequence := range m.Sequences {
		k := slices.IndexFunc(h.waiting, func(w *waiting) bool { return w.sequence == sequence })
		if k < 0 {
			continue
		}
		if m.Outcomes[i] == messages.Outcome_OUTCOME_UNKNOWN {
			h.member.world.fail("exactly once", "member %d: the outcome of sequence %d is said to be unknown; its origin %d is open",
				h.member.id, sequence, h.origin)
			return
		}
		w := h.waiting[k]
		h.waiting = slices.Delete(h.waiting, k, k+1)
		w.done(answer{index: m.Indexes[i], value: m.Values[i]})
	}
}

func (h *handle) readPoint(m *messages.ReadPoint) {
	if m.Refused != messages.Refusal_REFUSAL_UNSPECIFIED {
		return
	}
	for _, r := range h.reading {
		if r.id == m.Id && r.point == 0 {
			r.point = m.Index
		}
	}
	h.release()
}

// release answers the reads whose point is applied.
func (h *handle) release() {
	if !h.served || h.member.machine == nil {
		return
	}
	ready := slices.Clone(h.reading)
	h.reading = slices.DeleteFunc(h.reading, func(r *reading) bool { return r.point != 0 && r.point <= h.member.machine.last })
	for _, r := range ready {
		if r.point != 0 && r.point <= h.member.machine.last {
			r.done(answer{index: r.point})
		}
	}
}

// die ends what waits, as the process ends.
func (h *handle) die() {
	for _, w := range h.waiting {
		w.done(answer{err: errDied})
	}
	for _, r := range h.reading {
		r.done(answer{err: errDied})
	}
	h.waiting, h.reading = nil, nil
}
