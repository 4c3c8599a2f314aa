package sim

import (
	"encoding/binary"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// handle is a member's program: it writes commands and reads, says again what is not answered, and checks the answers.
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
}

type waiting struct {
	sequence uint64
	command  uint64
	entry    []byte // nil until the origin is open
}

type reading struct {
	id    uint64
	floor uint64 // no answer may be below: somebody was told of this index before the read began
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
		h.member.post(actors.NodePath, &messages.AskRead{Id: r.id, Mode: messages.ReadMode_READ_MODE_INDEX})
	}
	if h.origin == 0 {
		h.member.post(actors.NodePath, &messages.Propose{Data: raft.EncodeOpenOrigin(h.nonce, h.member.id)})
		return
	}
	for _, w := range h.waiting {
		h.propose(w)
	}
}

func (h *handle) propose(w *waiting) {
	if w.entry == nil {
		w.entry = raft.EncodeCommand(h.origin, w.sequence, h.waiting[0].sequence, binary.LittleEndian.AppendUint64(nil, w.command))
	}
	h.member.post(actors.NodePath, &messages.Propose{Data: w.entry})
}

func (h *handle) write(command uint64) {
	if len(h.waiting) >= 20 {
		return
	}
	w := &waiting{sequence: h.sequence, command: command}
	h.sequence++
	h.waiting = append(h.waiting, w)
	if h.origin != 0 {
		h.propose(w)
	}
}

func (h *handle) read() {
	if len(h.reading) >= 10 {
		return
	}
	h.lastRead++
	h.reading = append(h.reading, &reading{id: h.lastRead, floor: h.member.world.ghost.acked})
	h.member.post(actors.NodePath, &messages.AskRead{Id: h.lastRead, Mode: messages.ReadMode_READ_MODE_INDEX})
}

// SendUserMessage hears the actors of its node.
func (h *handle) SendUserMessage(_ *actor.PID, message any) {
	if h.life != h.member.life {
		return
	}
	_, message, _ = actor.UnwrapEnvelope(message)
	switch m := message.(type) {
	case *messages.LeaderChanged:
		h.leader = m.Leader
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
	case *messages.ReadPoint:
		h.readPoint(m)
	case *messages.Serving:
		h.served = true
	}
}

func (h *handle) SendSystemMessage(*actor.PID, any) {}
func (h *handle) Stop(*actor.PID)                   {}

func (h *handle) results(m *messages.Results) {
	if m.Origin != h.origin {
		return
	}
	w := h.member.world
	for i, sequence := range m.Sequences {
		for k, c := range h.waiting {
			if c.sequence != sequence {
				continue
			}
			if m.Outcomes[i] == messages.Outcome_OUTCOME_UNKNOWN {
				w.fail("exactly once", "member %d: the outcome of command %d is said to be unknown; its origin %d is open", h.member.id, c.command, h.origin)
				return
			}
			if binary.LittleEndian.Uint64(m.Values[i]) != c.command || w.ghost.commands[c.command] != m.Indexes[i] {
				w.fail("exactly once", "member %d: command %d was answered with %x at %d; it took effect at %d",
					h.member.id, c.command, m.Values[i], m.Indexes[i], w.ghost.commands[c.command])
			}
			w.ghost.acked = max(w.ghost.acked, m.Indexes[i])
			w.counts.Writes++
			h.waiting = append(h.waiting[:k], h.waiting[k+1:]...)
			break
		}
	}
}

func (h *handle) readPoint(m *messages.ReadPoint) {
	if m.Refused != messages.Refusal_REFUSAL_UNSPECIFIED {
		return
	}
	for k, r := range h.reading {
		if r.id != m.Id {
			continue
		}
		if m.Index < r.floor {
			h.member.world.fail("linearizable reads", "member %d: a stale read: the point is %d, index %d was acknowledged before", h.member.id, m.Index, r.floor)
		}
		h.member.world.counts.Reads++
		h.reading = append(h.reading[:k], h.reading[k+1:]...)
		return
	}
}
