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
)

// Crashes of actors, through the supervision of production: an actor panics before or after a
// message, and the tree's own strategy decides what is restarted, and when it has been too often.

const (
	LogStorePath  = actors.LogStoreName
	LogReaderPath = actors.LogStoreName + "/" + actors.LogReaderName
)

// StartMessage stands for an actor's start, which is a message too.
const StartMessage = protoreflect.Name("Started")

// hearer is an actor and the kinds of message that it handles.
type actorMessages struct {
	Actor string // as in mailbox.name; actors.ReplicatorPrefix: any replicator
	Kinds []protoreflect.Name
}

// heard is every kind of message that the actors of a tree handle.
var HandledMessages = [...]actorMessages{
	{"", []protoreflect.Name{
		StartMessage, "Recovered", "Durable", "MachineReady", "Pull", "Progress", "Fetch", "ResolveConflict", "HigherTerm", "Flush", "Tick", "LinkUp", "LinkDown",
		"Propose", "RequestRead", "TransferLeadership", "Campaign", "RequestVote", "VoteResponse", "AppendEntries", "Heartbeat",
		"HeartbeatResponse", "ForwardedProposals", "ForwardedRead", "ForwardedReadResponse", "TimeoutNow", "ProposalsRefused",
	}},
	{LogStorePath, []protoreflect.Name{StartMessage, "Append", "Flush", "Tick"}},
	{LogReaderPath, []protoreflect.Name{StartMessage, "ReadLog"}},
	{actors.MachineName, []protoreflect.Name{StartMessage, "Committed", "ReadLogResponse", "Tick"}},
	{actors.ReplicatorPrefix, []protoreflect.Name{
		StartMessage, "Replicate", "Fetched", "ReadLogResponse", "AppendResponse", "LinkDown", "LinkUp", "EnvelopesDropped", "Tick",
	}},
}

// CrashPoint is where an actor was made to fail: at which kind of message, before or after it was
// handled.
type CrashPoint int

// crashPoints are two for each kind of message of each actor in `heard`, in order.
const crashPoints = 2 * (27 + 4 + 2 + 4 + 9)

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

// Actor is the one that fails there.
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

// crashPointOf is where an actor fails, -1 where `heard` does not know it.
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

// fail is the panic of an actor that was told to.
func (b *mailbox) injectPanic(message any, when CrashTiming) {
	kind := StartMessage
	if _, starts := message.(*actor.Started); !starts {
		_, message, _ = actor.UnwrapEnvelope(message)
		kind = kindOf(message.(proto.Message))
	}
	w := b.member.world
	at := crashPointOf(b.path, kind, when)
	if at < 0 {
		w.Fail("known message kinds", "%s of member %d was sent %s", b.self.Id, b.member.id, kind)
	} else {
		w.Counts.Crashed[at]++
	}
	if role := b.member.View.Role; role == "recovering" || role == "" {
		w.Counts.CrashedRecovering++
	}
	panic(&actors.InjectedCrash{Description: at.String()})
}

// hitStartFailpoint tells what is to happen with an actor's start because of a trap.
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

func (w *World) RandomTiming() CrashTiming {
	if w.Chance(0.5) {
		return CrashBefore
	}
	return CrashAfter
}

// crashActor has one actor of the tree panic: at any kind of message that it handles, or at
// whatever comes next. again is how often more, at the messages that follow.
func (w *World) crashActor(m *Member, again int) {
	name, kind := w.randomMessageKind(m)
	leader := w.Leader()
	if leader != nil && strings.HasPrefix(name, actors.ReplicatorPrefix) {
		m = leader // nobody else has replicators
	}
	if w.Chance(0.2) {
		kind = ""
	}
	m.Failpoints = append(m.Failpoints, &Failpoint{Actor: name, Kind: kind, Remaining: 1, When: w.RandomTiming(), Repeats: again})
	switch kind { // what is rare is brought about
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
	case "HigherTerm": // a late one, of a term that has long passed
		m.Post(actors.NodePath, &messages.HigherTerm{Incarnation: m.View.Incarnation, From: m.id})
	case "ProposalsRefused": // of proposals that nobody waits for
		m.Post(actors.NodePath, &messages.ProposalsRefused{From: m.id, Reason: messages.Refusal_REFUSAL_NO_LEADER})
	case "Tick":
		if name == actors.MachineName { // which asks again where the reader did not answer
			m.Failpoints = append(m.Failpoints, &Failpoint{Actor: LogReaderPath, Kind: "ReadLog", Remaining: 1, When: CrashBefore})
		}
	}
}

// randomMessageKind is a kind of message that an actor of the tree handles, each as likely as
// another.
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

// crashRecovering has the node fail while it recovers, at times twice: the process dies, or only
// the Node, and then what starts anew does not get far.
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

// crashLoop has the Node fail at every message until there are too many restarts in the window.
func (w *World) crashLoop(m *Member) {
	m.Failpoints = append(m.Failpoints, &Failpoint{Remaining: 1, When: w.RandomTiming(), Repeats: w.RestartLimit.Max + 1})
}
