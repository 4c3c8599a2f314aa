package sim

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

// Crashes of actors, through the supervision of production: an actor panics before or after a message, and the tree's own
// strategy decides what is restarted, and when it has been too often.

const (
	logName    = actors.LogStoreName
	readerName = actors.LogStoreName + "/" + actors.LogReaderName
)

// startMessage stands for an actor's start, which is a message too.
const startMessage = protoreflect.Name("Started")

// hearer is an actor and the kinds of message that it handles.
type actorMessages struct {
	actor string // as in mailbox.name; actors.ReplicatorPrefix: any replicator
	kinds []protoreflect.Name
}

// heard is every kind of message that the actors of a tree handle.
var handledMessages = [...]actorMessages{
	{"", []protoreflect.Name{
		startMessage, "Recovered", "Durable", "MachineReady", "Pull", "Progress", "Fetch", "ResolveConflict", "HigherTerm", "Flush", "Tick", "LinkUp", "LinkDown",
		"Propose", "RequestRead", "TransferLeadership", "Campaign", "RequestVote", "VoteResponse", "AppendEntries", "Heartbeat",
		"HeartbeatResponse", "ForwardedProposals", "ForwardedRead", "ForwardedReadResponse", "TimeoutNow", "ProposalsRefused",
	}},
	{logName, []protoreflect.Name{startMessage, "Append", "Flush", "Tick"}},
	{readerName, []protoreflect.Name{startMessage, "ReadLog"}},
	{actors.MachineName, []protoreflect.Name{startMessage, "Committed", "ReadLogResponse", "Tick"}},
	{actors.ReplicatorPrefix, []protoreflect.Name{
		startMessage, "Replicate", "Fetched", "ReadLogResponse", "AppendResponse", "LinkDown", "LinkUp", "EnvelopesDropped", "Tick",
	}},
}

// CrashPoint is where an actor was made to fail: at which kind of message, before or after it was handled.
type CrashPoint int

// crashPoints are two for each kind of message of each actor in `heard`, in order.
const crashPoints = 2 * (27 + 4 + 2 + 4 + 9)

func (p CrashPoint) String() string {
	i, when := int(p)/2, "before"
	if p%2 == 1 {
		when = "after"
	}
	for _, h := range handledMessages {
		if i < len(h.kinds) {
			return fmt.Sprintf("%s %s %s", h.name(), when, h.kinds[i])
		}
		i -= len(h.kinds)
	}
	return "somewhere else"
}

// Actor is the one that fails there.
func (p CrashPoint) Actor() string {
	name, _, _ := strings.Cut(p.String(), " ")
	return name
}

func (h *actorMessages) name() string {
	switch h.actor {
	case "":
		return actors.NodeName
	case actors.ReplicatorPrefix:
		return "replicator"
	}
	return h.actor
}

// crashPointOf is where an actor fails, -1 where `heard` does not know it.
func crashPointOf(name string, kind protoreflect.Name, when crashTiming) CrashPoint {
	at := 0
	for _, h := range handledMessages {
		if h.actor == name || h.actor == actors.ReplicatorPrefix && strings.HasPrefix(name, actors.ReplicatorPrefix) {
			i := slices.Index(h.kinds, kind)
			if i < 0 {
				return -1
			}
			at = 2 * (at + i)
			if when == crashAfter {
				at++
			}
			return CrashPoint(at)
		}
		at += len(h.kinds)
	}
	return -1
}

// fail is the panic of an actor that was told to.
func (b *mailbox) injectPanic(message any, when crashTiming) {
	kind := startMessage
	if _, starts := message.(*actor.Started); !starts {
		_, message, _ = actor.UnwrapEnvelope(message)
		kind = kindOf(message.(proto.Message))
	}
	w := b.member.world
	at := crashPointOf(b.path, kind, when)
	if at < 0 {
		w.Fail("known message kinds", "%s of member %d was sent %s", b.self.Id, b.member.id, kind)
	} else {
		w.counts.Crashed[at]++
	}
	if role := b.member.view.Role; role == "recovering" || role == "" {
		w.counts.CrashedRecovering++
	}
	panic(&actors.InjectedCrash{Description: at.String()})
}

// hitStartFailpoint tells what is to happen with an actor's start because of a trap.
func (m *member) hitStartFailpoint(b *mailbox) crashTiming {
	if b.self.Id == actors.SupervisorName {
		return noCrash // it is small enough not to fail
	}
	for i, t := range m.failpoints {
		if t.actor != b.path || t.kind != startMessage {
			continue
		}
		if t.remaining--; t.remaining > 0 {
			continue
		}
		if t.repeats--; t.repeats < 0 {
			m.failpoints = slices.Delete(m.failpoints, i, i+1)
		}
		return t.when
	}
	return noCrash
}

func (w *World) randomTiming() crashTiming {
	if w.chance(0.5) {
		return crashBefore
	}
	return crashAfter
}

// crashActor has one actor of the tree panic: at any kind of message that it handles, or at whatever comes next. again is how
// often more, at the messages that follow.
func (w *World) crashActor(m *member, again int) {
	name, kind := w.randomMessageKind(m)
	leader := w.leader()
	if leader != nil && strings.HasPrefix(name, actors.ReplicatorPrefix) {
		m = leader // nobody else has replicators
	}
	if w.chance(0.2) {
		kind = ""
	}
	m.failpoints = append(m.failpoints, &failpoint{actor: name, kind: kind, remaining: 1, when: w.randomTiming(), repeats: again})
	switch kind { // what is rare is brought about
	case startMessage:
		if name == "" {
			w.killAndRestart(m)
		}
	case "Campaign":
		m.post(actors.NodePath, &messages.Campaign{})
	case "TransferLeadership":
		m.post(actors.NodePath, &messages.TransferLeadership{})
	case "TimeoutNow":
		if leader != nil {
			leader.post(actors.NodePath, &messages.TransferLeadership{Target: m.id})
		}
	case "EnvelopesDropped":
		m.post(actors.NodePath+"/"+name, &messages.EnvelopesDropped{Peer: m.id})
	case "HigherTerm": // a late one, of a term that has long passed
		m.post(actors.NodePath, &messages.HigherTerm{Incarnation: m.view.Incarnation, From: m.id})
	case "ProposalsRefused": // of proposals that nobody waits for
		m.post(actors.NodePath, &messages.ProposalsRefused{From: m.id, Reason: messages.Refusal_REFUSAL_NO_LEADER})
	case "Tick":
		if name == actors.MachineName { // which asks again where the reader did not answer
			m.failpoints = append(m.failpoints, &failpoint{actor: readerName, kind: "ReadLog", remaining: 1, when: crashBefore})
		}
	}
}

// randomMessageKind is a kind of message that an actor of the tree handles, each as likely as another.
func (w *World) randomMessageKind(m *member) (name string, kind protoreflect.Name) {
	at := w.random.IntN(crashPoints / 2)
	for _, h := range handledMessages {
		if at >= len(h.kinds) {
			at -= len(h.kinds)
			continue
		}
		name, kind = h.actor, h.kinds[at]
		break
	}
	if name == actors.ReplicatorPrefix {
		name = actors.ReplicatorName(w.randomMember().id)
	}
	return name, kind
}

// crashRecovering has the node fail while it recovers, at times twice: the process dies, or only the Node, and then what
// starts anew does not get far.
func (w *World) crashRecovering(m *member) {
	early := []failpoint{{actor: logName, kind: startMessage}, {kind: "Recovered"}, {actor: readerName, kind: startMessage},
		{actor: actors.MachineName, kind: startMessage}, {actor: logName}, {}}
	t := early[w.random.IntN(len(early))]
	t.remaining, t.when, t.repeats = 1, w.randomTiming(), w.random.IntN(2)
	m.failpoints = []*failpoint{&t}
	if w.chance(0.5) {
		w.killAndRestart(m)
		return
	}
	m.failpoints = append(m.failpoints, &failpoint{remaining: 1, when: crashBefore})
	if t.kind == "" && t.actor == "" {
		t.remaining = 2
	}
}

// crashLoop has the Node fail at every message until there are too many restarts in the window.
func (w *World) crashLoop(m *member) {
	m.failpoints = append(m.failpoints, &failpoint{remaining: 1, when: w.randomTiming(), repeats: w.restartLimit.Max + 1})
}
