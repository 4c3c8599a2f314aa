package world

import (
	"fmt"
	"slices"
	"strings"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/supervisor"
)

// Crashes of actors go through the production supervisor: an actor panics before or after a
// message, and the strategy of the tree decides what is restarted, and when the limit is exceeded.

const (
	LogStorePath  = actors.LogStoreName
	LogReaderPath = actors.LogStoreName + "/" + actors.LogReaderName
)

// StartMessage stands for the start of an actor, which is a message too.
const StartMessage = protoreflect.Name("Started")

// pinFailed stops the node in any case, so that no script makes an actor crash at it.
const pinFailed = protoreflect.Name("PinFailed")

// actorMessages is an actor and the kinds of message that it handles.
type actorMessages supervisor.ActorMessages

// HandledMessages lists every kind of message that the actors of a node handle, their start
// included.
var HandledMessages = withStart(supervisor.HandledMessages)

func withStart(handled []supervisor.ActorMessages) (all []actorMessages) {
	for _, h := range handled {
		all = append(all, actorMessages{h.Actor, append([]protoreflect.Name{StartMessage}, h.Kinds...)})
	}
	return all
}

// CrashPoint is where an actor was made to crash: at a kind of message, before or after it handled
// it.
type CrashPoint int

// crashPoints are two for each kind of message of each actor in HandledMessages, in order.
const crashPoints = 2 * (29 + 4 + 2 + 4 + 9)

func (p CrashPoint) String() string {
	i, when := int(p)/2, "before"
	if p%2 == 1 {
		when = "after"
	}
	for _, h := range HandledMessages {
		if i < len(h.Kinds) {
			return fmt.Sprintf("%s %s %s", h.name(), when, h.Kinds[i])
		}
		i -= len(h.Kinds)
	}
	return "somewhere else"
}

// Actor returns the name of the actor that crashes there.
func (p CrashPoint) Actor() string {
	name, _, _ := strings.Cut(p.String(), " ")
	return name
}

func (h *actorMessages) name() string {
	switch h.Actor {
	case "":
		return actors.NodeName
	case actors.ReplicatorPrefix:
		return "replicator"
	}
	return h.Actor
}

// crashPointOf returns a crash point; -1: HandledMessages does not have it.
func crashPointOf(name string, kind protoreflect.Name, when CrashTiming) CrashPoint {
	at := 0
	for _, h := range HandledMessages {
		if h.Actor == name || h.Actor == actors.ReplicatorPrefix && strings.HasPrefix(name, actors.ReplicatorPrefix) {
			i := slices.Index(h.Kinds, kind)
			if i < 0 {
				return -1
			}
			at = 2 * (at + i)
			if when == CrashAfter {
				at++
			}
			return CrashPoint(at)
		}
		at += len(h.Kinds)
	}
	return -1
}

// injectPanic panics in place of an actor.
func (b *mailbox) injectPanic(message any, when CrashTiming) {
	kind := StartMessage
	if _, starts := message.(*actor.Started); !starts {
		_, message, _ = actor.UnwrapEnvelope(message)
		kind = kindOf(message.(proto.Message))
	}
	w := b.member.world
	at := crashPointOf(b.path, kind, when)
	if at < 0 && kind != pinFailed {
		w.Fail("known message kinds", "%s of member %d received %s", b.self.Id, b.member.id, kind)
	} else if at >= 0 {
		w.Counts.Crashed[at]++
	}
	if role := b.member.View.Role; role == "recovering" || role == "" {
		w.Counts.CrashedRecovering++
	}
	panic(&actors.InjectedCrash{Description: at.String()})
}

// hitStartFailpoint returns what is to happen with the start of an actor because of a failpoint.
func (m *Member) hitStartFailpoint(b *mailbox) CrashTiming {
	if b.self.Id == actors.SupervisorName {
		return noCrash // it is small enough not to fail
	}
	for i, t := range m.Failpoints {
		if t.Actor != b.path || t.Kind != StartMessage {
			continue
		}
		if t.Remaining--; t.Remaining > 0 {
			continue
		}
		if t.Repeats--; t.Repeats < 0 {
			m.Failpoints = slices.Delete(m.Failpoints, i, i+1)
		}
		return t.When
	}
	return noCrash
}

// RandomTiming draws whether a crash comes before or after a message.
func (w *World) RandomTiming() CrashTiming {
	if w.Chance(0.5) {
		return CrashBefore
	}
	return CrashAfter
}

// crashActor makes one actor of the node panic: at any kind of message that it handles, or at the
// next message. again is how many of the following messages it panics at too.
func (w *World) crashActor(m *Member, again int) {
	name, kind := w.randomMessageKind(m)
	leader := w.Leader()
	if leader != nil && strings.HasPrefix(name, actors.ReplicatorPrefix) {
		m = leader // only leaders have replicators
	}
	if w.Chance(0.2) {
		kind = ""
	}
	m.Failpoints = append(m.Failpoints, &Failpoint{Actor: name, Kind: kind, Remaining: 1, When: w.RandomTiming(), Repeats: again})
	switch kind { // rare messages are provoked
	case StartMessage:
		if name == "" {
			w.killAndRestart(m)
		}
	case "Campaign":
		m.Post(actors.NodePath, &messages.Campaign{})
	case "TransferLeadership":
		m.Post(actors.NodePath, &messages.TransferLeadership{})
	case "TimeoutNow":
		if leader != nil {
			leader.Post(actors.NodePath, &messages.TransferLeadership{Target: m.id})
		}
	case "EnvelopesDropped":
		m.Post(actors.NodePath+"/"+name, &messages.EnvelopesDropped{Peer: m.id})
	case "HigherTerm": // of an earlier term
		m.Post(actors.NodePath, &messages.HigherTerm{Incarnation: m.View.Incarnation, From: m.id})
	case "ProposalsRefused": // of unknown proposals
		m.Post(actors.NodePath, &messages.ProposalsRefused{From: m.id, Reason: messages.Refusal_REFUSAL_NO_LEADER})
	case "Tick":
		if name == actors.MachineName { // it reads again if the reader did not respond
			m.Failpoints = append(m.Failpoints, &Failpoint{Actor: LogReaderPath, Kind: "ReadLog", Remaining: 1, When: CrashBefore})
		}
	}
}

// randomMessageKind returns a kind of message that an actor of the node handles, all with equal
// probability.
func (w *World) randomMessageKind(m *Member) (name string, kind protoreflect.Name) {
	at := w.Random.IntN(crashPoints / 2)
	for _, h := range HandledMessages {
		if at >= len(h.Kinds) {
			at -= len(h.Kinds)
			continue
		}
		name, kind = h.Actor, h.Kinds[at]
		break
	}
	if name == actors.ReplicatorPrefix {
		name = actors.ReplicatorName(w.RandomMember().id)
	}
	return name, kind
}

// crashRecovering makes the node crash while it recovers, at times twice: after its process was
// killed, or after only the Node crashed.
func (w *World) crashRecovering(m *Member) {
	early := []Failpoint{{Actor: LogStorePath, Kind: StartMessage}, {Kind: "Recovered"}, {Actor: LogReaderPath, Kind: StartMessage},
		{Actor: actors.MachineName, Kind: StartMessage}, {Actor: LogStorePath}, {}}
	t := early[w.Random.IntN(len(early))]
	t.Remaining, t.When, t.Repeats = 1, w.RandomTiming(), w.Random.IntN(2)
	m.Failpoints = []*Failpoint{&t}
	if w.Chance(0.5) {
		w.killAndRestart(m)
		return
	}
	m.Failpoints = append(m.Failpoints, &Failpoint{Remaining: 1, When: CrashBefore})
	if t.Kind == "" && t.Actor == "" {
		t.Remaining = 2
	}
}

// crashLoop makes the Node crash at every message until the restart limit is exceeded.
func (w *World) crashLoop(m *Member) {
	m.Failpoints = append(m.Failpoints, &Failpoint{Remaining: 1, When: w.RandomTiming(), Repeats: w.RestartLimit.Max + 1})
}
